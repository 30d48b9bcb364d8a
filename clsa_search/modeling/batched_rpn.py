"""Proposals of Detectron2's RPN for a batch of images at once, without a wait for a GPU.

N images, L levels, M best anchors of a level, A anchors of a cell, H x W cells of a level.
"""

import torch
from detectron2.modeling.proposal_generator import RPN
from torch.nn import functional as F

from clsa_search.modeling.padded_boxes import PaddedBoxes, clip_boxes, select_boxes


def propose_boxes(
    rpn: RPN, features: dict[str, torch.Tensor], limits: torch.Tensor, *, complete: bool = False
) -> PaddedBoxes:
    """Compute the proposals that an RPN makes at inference; a level is a group.

    Args:
        rpn: Detectron2's RPN with axis-aligned boxes.
        features: feature maps of the batch by name.
        limits: (N, 4) width, height, width, height of each image.
        complete: see :func:`select_boxes`.
    """
    maps = [features[name] for name in rpn.in_features]
    grids = [x.tensor for x in rpn.anchor_generator(maps)]
    topk = rpn.pre_nms_topk[False]
    width = min(topk, max(len(x) for x in grids))
    levels = [
        _choose_best(*level, topk=topk, width=width)
        for level in zip(*rpn.rpn_head(maps), grids, strict=True)
    ]
    scores, deltas, anchors = (torch.stack(x, dim=1) for x in zip(*levels, strict=True))
    boxes = rpn.box2box_transform.apply_deltas(deltas.view(-1, 4), anchors.view(-1, 4))
    boxes = boxes.view_as(deltas)
    finite = boxes.isfinite().all(dim=-1) & scores.isfinite()
    boxes = clip_boxes(boxes, finite, limits[:, None, None])
    large = ((boxes[..., 2:] - boxes[..., :2]) > rpn.min_box_size).all(dim=-1)
    return select_boxes(
        boxes,
        scores,
        finite & large,
        max_iou=rpn.nms_thresh,
        count=rpn.post_nms_topk[False],
        complete=complete,
    )


def _choose_best(
    logits: torch.Tensor, deltas: torch.Tensor, anchors: torch.Tensor, *, topk: int, width: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Choose the best anchors of a level, and pad their number to `width`, M.

    Args:
        logits: (N, A, H, W).
        deltas: (N, A * 4, H, W).
        anchors: (H * W * A, 4).
        topk: number of chosen anchors, if there are as many.
        width: M.

    Returns:
        Scores (N, M) in falling order, minus infinity in the padding; deltas and anchors (N, M, 4).
    """
    rows = logits.permute(0, 2, 3, 1).flatten(1)
    scores, index = rows.topk(min(topk, rows.shape[1]), dim=1)
    deltas = deltas.permute(0, 2, 3, 1).reshape(*rows.shape, 4)
    deltas = deltas.gather(1, index[..., None].expand(-1, -1, 4))
    rest = width - index.shape[1]
    return (
        F.pad(scores, (0, rest), value=-torch.inf),
        F.pad(deltas, (0, 0, 0, rest)),
        F.pad(anchors[index], (0, 0, 0, rest)),
    )
