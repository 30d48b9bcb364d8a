"""Proposals of Detectron2's RPN for a batch of images at once, without a wait for a GPU.

N images, L levels, R anchors of a level, M best ones of them.
"""

from collections.abc import Sequence

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
    all_logits, all_deltas = rpn.rpn_head(maps)
    all_logits = [x.permute(0, 2, 3, 1).flatten(1) for x in all_logits]
    all_deltas = [x.permute(0, 2, 3, 1).reshape(len(x), -1, 4) for x in all_deltas]
    anchors = [x.tensor for x in rpn.anchor_generator(maps)]
    return select_proposals(rpn, all_logits, all_deltas, anchors, limits, complete=complete)


def select_proposals(
    rpn: RPN,
    all_logits: Sequence[torch.Tensor],
    all_deltas: Sequence[torch.Tensor],
    all_anchors: Sequence[torch.Tensor],
    limits: torch.Tensor,
    *,
    complete: bool = False,
) -> PaddedBoxes:
    """Select the proposals of an RPN from its predictions, with its settings of the moment.

    Args:
        rpn: see :func:`propose_boxes`.
        all_logits: (N, R) of each level.
        all_deltas: (N, R, 4) of each level.
        all_anchors: (R, 4) of each level.
        limits: see :func:`propose_boxes`.
        complete: see :func:`select_boxes`.
    """
    topk = rpn.pre_nms_topk[rpn.training]
    width = min(topk, max(map(len, all_anchors)))
    levels = [
        _choose_best(*level, topk=topk, width=width)
        for level in zip(all_logits, all_deltas, all_anchors, strict=True)
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
        count=rpn.post_nms_topk[rpn.training],
        complete=complete,
    )


def _choose_best(
    logits: torch.Tensor, deltas: torch.Tensor, anchors: torch.Tensor, *, topk: int, width: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Choose the best anchors of a level, and pad their number to `width`, M.

    Args:
        logits: (N, R).
        deltas: (N, R, 4).
        anchors: (R, 4).
        topk: number of chosen anchors, if there are as many.
        width: M.

    Returns:
        Scores (N, M) in falling order, minus infinity in the padding; deltas and anchors (N, M, 4).
    """
    scores, index = logits.topk(min(topk, logits.shape[1]), dim=1)
    deltas = deltas.gather(1, index[..., None].expand(-1, -1, 4))
    rest = width - index.shape[1]
    return (
        F.pad(scores, (0, rest), value=-torch.inf),
        F.pad(deltas, (0, 0, 0, rest)),
        F.pad(anchors[index], (0, 0, 0, rest)),
    )
