"""The losses of CLSA as pure functions of logits.

R boxes, P identities; logits may have further columns that are no identity.
"""

import torch
from torch.nn import functional as F

from clsa_search.structures import UNLABELED


def identity_loss(
    logits: torch.Tensor, pids: torch.Tensor, *, count: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute the cross-entropy of the labeled rows; 0 with a gradient path if there are none.

    Args:
        logits: (R, P or more), any float dtype; the loss is computed in float32.
        pids: (R,) int64 in [0, P), or UNLABELED.
        count: divisor of the sum, above 0; the default is the number of labeled rows.
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
