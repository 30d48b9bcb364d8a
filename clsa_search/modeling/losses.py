"""The losses as pure functions: of logits, and of similarities and distances of boxes.

R boxes, P identities, C boxes to compare with, L levels; logits may have further columns that are
no identity.
"""

from itertools import combinations

import torch
from torch.nn import functional as F

from clsa_search.structures import UNLABELED

MIN_SPREAD = 1e-2
"""Similarities with a smaller spread (root of the squared sum) count as equal in a correlation."""


def identity_loss(
    logits: torch.Tensor,
    pids: torch.Tensor,
    *,
    count: torch.Tensor | None = None,
    smoothing: float = 0.0,
    num_ids: int | None = None,
) -> torch.Tensor:
    """Compute the cross-entropy of the labeled rows; 0 with a gradient path if there are none.

    Label smoothing: Szegedy et al., CVPR 2016 (arXiv 1512.00567), section 7.

    Args:
        logits: (R, P or more), any float dtype; the loss is computed in float32.
        pids: (R,) int64 in [0, P), or UNLABELED.
        count: divisor of the sum, above 0; the default is the number of labeled rows.
        smoothing: share of the target that is spread evenly over all identities, in [0, 1).
        num_ids: number P of identities; the default is the number of columns.
    """
    logits = logits.float()
    total = F.cross_entropy(logits, pids, ignore_index=UNLABELED, reduction="sum")
    if smoothing:
        evenly = -logits.log_softmax(dim=1)[:, :num_ids].mean(dim=1)
        evenly = evenly.where(pids != UNLABELED, 0).sum()
        total = (1 - smoothing) * total + smoothing * evenly
    count = (pids != UNLABELED).sum().clamp(min=1) if count is None else count
    return total / count


def alignment_loss(
    source_logits: torch.Tensor,
    target_logits: torch.Tensor,
    *,
    temperature: float,
    count: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute T^2 * KL(source || target) of the softened predictions; 0 for no rows.

    The gradient reaches both arguments. Detach the source at the call to make it a fixed teacher.
    Source: CLSA (arXiv 1807.08582), section 3; softening as in Hinton et al. (arXiv 1503.02531).

    Args:
        source_logits: (R, P or more), any float dtype; the loss is computed in float32.
        target_logits: as `source_logits`.
        temperature: temperature T > 0.
        count: divisor of the sum over rows, above 0; the default is R.
    """
    source = F.log_softmax(source_logits.float() / temperature, dim=1)
    target = F.log_softmax(target_logits.float() / temperature, dim=1)
    total = F.kl_div(target, source, reduction="sum", log_target=True)
    return temperature**2 * total / (max(len(source), 1) if count is None else count)


def same_person_loss(
    source: torch.Tensor, target: torch.Tensor, same: torch.Tensor
) -> torch.Tensor:
    """Compute the mean of max(0, source - target) over the pairs of a person; 0 for no pairs.

    Where a lower level finds two boxes of a person less alike than the top level does, it is pulled
    up; elsewhere it is left alone. Detach the source at the call to make it a fixed teacher.
    Similarities as a target: relational distillation (Park et al., arXiv 1904.05068). The form was
    chosen by measurement, see docs/ablation.md.

    Args:
        source: (R, C) cosine similarities at the top level.
        target: (R, C) at a lower level.
        same: (R, C) bool, pairs of the same person.
    """
    gap = (source.float() - target.float()).clamp(min=0)
    return (gap * same).sum() / same.sum().clamp(min=1)


def decorrelation_loss(similarities: list[torch.Tensor], different: torch.Tensor) -> torch.Tensor:
    """Compute the squared correlations of all pairs of levels, added up; 0 for fewer than 2 pairs.

    A concatenation profits from mistakes that its levels do not share. So the similarities of two
    levels must not rise and fall together over pairs of different people. Decorrelated errors:
    negative correlation learning (Liu and Yao, Neural Networks 12, 1999). The form was chosen by
    measurement, see docs/ablation.md.

    Args:
        similarities: L cosine similarities (R, C), one per level.
        different: (R, C) bool, pairs of different people.
    """
    count = different.sum().clamp(min=1)
    units = []
    for level in similarities:
        level = level.float()
        centered = (level - (level * different).sum() / count) * different
        units.append(F.normalize(centered.flatten(), dim=0, eps=MIN_SPREAD))
    total = sum(similarity.float().sum() * 0 for similarity in similarities)
    assert isinstance(total, torch.Tensor)
    for first, second in combinations(units, 2):
        total = total + (first @ second) ** 2
    return total


def batch_hard_triplet_loss(
    distances: torch.Tensor, same: torch.Tensor, different: torch.Tensor, *, margin: float
) -> torch.Tensor:
    """Compute the mean of max(0, margin + farthest positive - nearest negative) over the anchors.

    A row is an anchor if it has a positive and a negative. Without anchors the loss is 0 with a
    gradient path. A margin of 0 is the soft margin: softplus in place of the maximum.
    Source: Hermans et al. (arXiv 1703.07737), section 2 and equation 5.

    Args:
        distances: (R, C) of 0 or more, any float dtype; the loss is computed in float32.
        same: (R, C) bool, positives of each row.
        different: (R, C) bool, negatives of each row.
        margin: smallest wanted difference, in the unit of `distances`.
    """
    distances = distances.float()
    if not distances.numel():
        return distances.sum()
    farthest = distances.where(same, 0).amax(dim=1)
    nearest = distances.where(different, torch.finfo(torch.float32).max).amin(dim=1)
    gaps = margin + farthest - nearest
    losses = gaps.clamp(min=0) if margin else F.softplus(gaps)
    is_anchor = same.any(dim=1) & different.any(dim=1)
    return losses.where(is_anchor, 0).sum() / is_anchor.sum().clamp(min=1)
