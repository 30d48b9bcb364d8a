"""The losses of CLSA as pure functions of logits.

R people, P identities.
"""

import torch
from torch.nn import functional as F

from clsa_search.data import UNLABELLED


def identity_loss(logits: torch.Tensor, pids: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over the labelled people; 0 (with a gradient path) where there are none.

    Args:
        logits: (R, P), any float dtype; computed in float32.
        pids: (R,) int64 in [0, P), or UNLABELLED.
    """
    total = F.cross_entropy(logits.float(), pids, ignore_index=UNLABELLED, reduction="sum")
    return total / (pids != UNLABELLED).sum().clamp(min=1)


def alignment_loss(
    source_logits: torch.Tensor, target_logits: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """T^2 * KL(source || target) of the softened predictions, mean over people; 0 for no people.

    The gradient reaches both arguments: detach the source at the call to make it a fixed teacher.
    Source: CLSA (arXiv 1807.08582), section 3; softening as in Hinton et al. (arXiv 1503.02531).

    Args:
        source_logits, target_logits: (R, P), any float dtype; computed in float32.
        temperature: T > 0.
    """
    source = F.log_softmax(source_logits.float() / temperature, dim=1)
    target = F.log_softmax(target_logits.float() / temperature, dim=1)
    total = F.kl_div(target, source, reduction="sum", log_target=True)
    return temperature**2 * total / max(len(source), 1)
