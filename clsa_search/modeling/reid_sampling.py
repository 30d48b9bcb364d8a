"""The training boxes of the re-ID branch.

G ground-truth boxes of an image, S sampled proposals of an image, R boxes over all images.
"""

import torch
from detectron2.structures import Boxes, Instances

from clsa_search.modeling.gpu_ops import send

FILLER = -2
"""Identity of a row without a person; it only keeps batch norm and the gradient path alive."""


def select_training_boxes(
    targets: list[Instances], proposals: list[Instances], *, proposals_per_image: int
) -> tuple[list[Boxes], torch.Tensor]:
    """Select all ground-truth boxes, and foreground proposals with the identity of their match.

    Batch norm needs two rows for a variance, and all processes of a distributed training must
    compute the same losses. So a batch with fewer than two boxes is filled up with halves of an
    image of identity FILLER.

    Args:
        targets: per image gt_boxes (G, 4) and gt_pids (G,), UNLABELED for unknown identities.
        proposals: per image the samples of the ROI heads: proposal_boxes (S, 4), gt_classes (S,)
            with 0 for a person, and gt_boxes, gt_pids if the image has ground-truth boxes.
        proposals_per_image: largest number of proposals of an image; a random choice of them.

    Returns:
        Boxes of each image in pixels of the network's input, and their (R,) int64 identities.
    """
    boxes, pids = [], []
    foreground = _find_foreground(proposals)
    for target, sampled, rows in zip(targets, proposals, foreground, strict=True):
        chosen = [] if rows is None else [_sample(sampled, rows, proposals_per_image)]
        boxes.append(Boxes.cat([target.gt_boxes, *(x.proposal_boxes for x in chosen)]))
        pids += [target.gt_pids, *(x.gt_pids for x in chosen)]
    missing = 2 - sum(len(b) for b in boxes)
    if missing > 0:
        height, width = targets[-1].image_size
        # two different boxes, because equal rows have no variance
        halves = [[0.0, 0.0, width / 2, height], [width / 2, 0.0, width, height]]
        boxes[-1] = Boxes.cat([boxes[-1], Boxes(boxes[-1].tensor.new_tensor(halves[:missing]))])
        pids.append(pids[-1].new_full((missing,), FILLER))
    return boxes, torch.cat(pids)


def _find_foreground(proposals: list[Instances]) -> list[torch.Tensor | None]:
    """Return the rows of each image's foreground proposals, on the CPU; a GPU is awaited once.

    Detectron2 appends the ground-truth boxes to the proposals, so they are left out here. An image
    without ground-truth boxes has no gt_pids, and None.
    """
    masks = [
        (x.gt_classes == 0) & (x.proposal_boxes.tensor != x.gt_boxes.tensor).any(dim=1)
        for x in proposals
        if x.has("gt_pids")
    ]
    if not masks:
        return [None] * len(proposals)
    rows = iter(torch.cat(masks).cpu().split([len(mask) for mask in masks]))
    return [next(rows).nonzero().squeeze(1) if x.has("gt_pids") else None for x in proposals]


def _sample(sampled: Instances, rows: torch.Tensor, limit: int) -> Instances:
    """Return at most `limit` random rows of the proposals."""
    chosen = rows[torch.randperm(len(rows))[:limit]]
    return sampled[send(chosen, sampled.gt_classes.device)]
