"""Non-maximum suppression (NMS) of many groups of boxes at once, by matrix products.

B groups, M boxes of a group.
"""

import torch

from clsa_search.modeling.gpu_ops import find_overlaps


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
    overlaps = find_overlaps(boxes, max_iou).tril_(-1)  # with the boxes before each one
    before = selected = valid
    for _ in range(rounds):
        before = selected
        # a sum of ones is never rounded to 0
        suppressors = torch.bmm(overlaps, before[:, :, None].to(overlaps.dtype))[:, :, 0]
        selected = valid & (suppressors == 0)
    return selected, (selected == before).all()
