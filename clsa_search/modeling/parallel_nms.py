"""Non-maximum suppression (NMS) of many groups of boxes at once, by matrix products.

B groups, M boxes of a group.
"""

import torch


def suppress_overlaps(
    boxes: torch.Tensor, valid: torch.Tensor, max_iou: float, rounds: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the boxes of greedy NMS: those that no selected box before them overlaps.

    This rule has one solution. Each round applies it to the selection of the round before. After
    M rounds the selection is final in any case, usually after ten. The host never waits.

    Args:
        boxes: (B, M, 4) finite XYXY, the most confident of a group first.
        valid: (B, M) bool; other boxes are not selected and suppress nothing.
        max_iou: a larger IoU with a selected box suppresses a box.
        rounds: number of rounds, at least 1.

    Returns:
        (B, M) bool selection, and a bool scalar: whether it is final.
    """
    overlaps = _find_overlaps(boxes, max_iou)
    before = selected = valid
    for _ in range(rounds):
        before = selected
        suppressors = torch.bmm(overlaps, before[:, :, None].to(overlaps.dtype))[:, :, 0]
        selected = valid & (suppressors == 0)
    return selected, (selected == before).all()


def _find_overlaps(boxes: torch.Tensor, max_iou: float) -> torch.Tensor:
    """Return (B, M, M): 1 at [b, j, i] if box i overlaps box j and comes before it, else 0."""
    x0, y0, x1, y1 = boxes.unbind(dim=2)
    intersections = _intersect(x0, x1).mul_(_intersect(y0, y1))
    areas = (x1 - x0) * (y1 - y0)
    unions = (areas[:, :, None] + areas[:, None]).sub_(intersections)
    # empty boxes have an IoU of 0 / 0, and no comparison with it holds
    overlaps = intersections.div_(unions) > max_iou
    # a GPU is faster in half precision; a sum of ones is never rounded to 0
    return overlaps.tril_(-1).to(torch.float16 if boxes.is_cuda else torch.float32)


def _intersect(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Return the common lengths (B, M, M) of intervals."""
    ends = torch.minimum(high[:, :, None], high[:, None])
    return ends.sub_(torch.maximum(low[:, :, None], low[:, None])).clamp_(min=0)
