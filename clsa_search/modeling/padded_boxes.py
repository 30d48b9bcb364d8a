"""Boxes of a batch of images in tensors of fixed size, so that a host need not know their number.

N images, G groups of an image, M boxes of a group, S boxes of an image.
"""

from dataclasses import dataclass

import torch

from clsa_search.modeling.parallel_nms import suppress_overlaps

_NMS_ROUNDS = 20  # boxes of people and of random networks need 3 to 14


@dataclass(frozen=True)
class PaddedBoxes:
    """The same number of boxes for each image, the most confident first, padding last.

    Args:
        boxes: (N, S, 4) XYXY.
        scores: (N, S).
        valid: (N, S) bool; other boxes are padding, and empty.
        groups: (N, S) int64, the group of each box.
        is_final: bool scalar; False if NMS had too few rounds.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    valid: torch.Tensor
    groups: torch.Tensor
    is_final: torch.Tensor


def clip_boxes(boxes: torch.Tensor, finite: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """Clip boxes to images; boxes that are not finite become empty.

    Args:
        boxes: (..., 4) XYXY.
        finite: (...) bool.
        limits: (..., 4) width, height, width, height.
    """
    return torch.minimum(boxes.masked_fill(~finite[..., None], 0).clamp(min=0), limits)


def select_boxes(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    valid: torch.Tensor,
    *,
    max_iou: float,
    count: int,
    complete: bool,
) -> PaddedBoxes:
    """Select the most confident boxes of each image after NMS in its groups.

    Args:
        boxes: (N, G, M, 4) finite, the most confident of a group first.
        scores: (N, G, M).
        valid: (N, G, M) bool; other boxes are ignored.
        max_iou: a larger IoU suppresses a box.
        count: largest number of selected boxes of an image; negative for all.
        complete: whether NMS has rounds enough for any boxes, which may be hundreds.
    """
    size = scores.shape[2]
    selected, is_final = suppress_overlaps(
        boxes.flatten(0, 1), valid.flatten(0, 1), max_iou, size if complete else _NMS_ROUNDS
    )
    selected = selected.view_as(scores).flatten(1)
    scores = scores.flatten(1).masked_fill(~selected, -torch.inf)
    scores, index = scores.sort(dim=1, descending=True, stable=True)
    index = index[:, : count if count >= 0 else None]
    selected = selected.gather(1, index)
    boxes = boxes.flatten(1, 2).gather(1, index[..., None].expand(-1, -1, 4))
    return PaddedBoxes(
        boxes=boxes.masked_fill(~selected[..., None], 0),
        scores=scores[:, : index.shape[1]],
        valid=selected,
        groups=index // size,
        is_final=is_final,
    )
