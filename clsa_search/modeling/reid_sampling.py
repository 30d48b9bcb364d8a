"""Which boxes the re-ID branch trains on.

R boxes over all images.
"""

import torch
from detectron2.structures import Boxes, Instances

FILLER = -2
"""In place of an identity: a row that only keeps batch norm and the gradient path alive."""


def select_training_boxes(
    people: list[Instances], proposals: list[Instances], *, proposals_per_image: int
) -> tuple[list[Boxes], torch.Tensor]:
    """Every annotated box, and foreground proposals that inherit the identity of theirs.

    Batch norm needs two rows to have a variance, and every process of a distributed run must take
    the same path: where there are fewer than two boxes, halves of an image fill up, marked FILLER.

    Args:
        people: per image gt_boxes, gt_pids (UNLABELED where not known).
        proposals: per image what the ROI heads sampled: proposal_boxes, gt_classes (0 is person),
            and where the image has people gt_boxes, gt_pids.
        proposals_per_image: at most so many proposals of an image, drawn at random.

    Returns:
        boxes of each image in the frame of the network's input, and the (R,) int64 identities.
    """
    boxes, pids = [], []
    for gt, sampled in zip(people, proposals, strict=True):
        chosen = _foreground(sampled, proposals_per_image)
        boxes.append(Boxes.cat([gt.gt_boxes, *(p.proposal_boxes for p in chosen)]))
        pids += [gt.gt_pids, *(p.gt_pids for p in chosen)]
    missing = 2 - sum(len(b) for b in boxes)
    if missing > 0:
        height, width = people[-1].image_size
        # two that differ: equal rows would tell batch norm that nothing varies
        halves = [[0.0, 0.0, width / 2, height], [width / 2, 0.0, width, height]]
        boxes[-1] = Boxes.cat([boxes[-1], Boxes(boxes[-1].tensor.new_tensor(halves[:missing]))])
        pids.append(pids[-1].new_full((missing,), FILLER))
    return boxes, torch.cat(pids)


def _foreground(sampled: Instances, limit: int) -> list[Instances]:
    """At most `limit` random people among the proposals, without the annotated boxes themselves.

    A list of one, or empty where the image has no people (its proposals carry no identities).
    """
    if not sampled.has("gt_pids"):
        return []
    moved = (sampled.proposal_boxes.tensor != sampled.gt_boxes.tensor).any(dim=1)
    rows = torch.nonzero((sampled.gt_classes == 0) & moved).squeeze(1)
    return [sampled[rows[torch.randperm(len(rows), device=rows.device)[:limit]]]]
