"""The losses of CLSA as pure functions of logits.

R people, P identities (and further columns that are no identity).
"""

import torch
from torch.nn import functional as F

from clsa_search.structures import UNLABELED


def identity_loss(
    logits: torch.Tensor, pids: torch.Tensor, *, count: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy over the labeled people; 0 (with a gradient path) where there are none.

    Args:
        logits: (R, P or more), any float dtype; computed in float32.
        pids: (R,) int64 in [0, P), or UNLABELED.
        count: what the sum is divided by, above 0; by default the number of labeled people.
    """
    total = F.cross_entropy(logits.float(), pids, ignore_index=UNLABELED, reduction="sum")
    count = (pids != UNLABELED).sum().clamp(min=1) if count is None else count
    return total / count


def alignment_loss(
    source_logits: torch.Tensor,
    target_logits: torch.Tensor,
    *,
    temperature: float,
    count: torch.Tensor | None = None,
) -> torch.Tensor:
    """T^2 * KL(source || target) of the softened predictions, mean over people; 0 for no people.

    The gradient reaches both arguments: detach the source at the call to make it a fixed teacher.
    Source: CLSA (arXiv 1807.08582), section 3; softening as in Hinton et al. (arXiv 1503.02531).

    Args:
        source_logits, target_logits: (R, P or more), any float dtype; computed in float32.
        temperature: T > 0.
        count: what the sum is divided by, above 0; by default R.
    """
    source = F.log_softmax(source_logits.float() / temperature, dim=1)
    target = F.log_softmax(target_logits.float() / temperature, dim=1)
    total = F.kl_div(target, source, reduction="sum", log_target=True)
    count = max(len(source), 1) if count is None else count
    return temperature**2 * total / count
