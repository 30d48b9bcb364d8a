"""Global pools: feature maps of boxes to one number per channel, in float32.

R boxes, C channels, h x w grid of a level.
"""

import torch
from torch import nn


class AveragePool(nn.Module):
    """Global average pool."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute (R, C) from feature maps (R, C, h, w)."""
        return features.mean(dim=(2, 3), dtype=torch.float32)


class GeneralizedMeanPool(nn.Module):
    """Global pool by the generalized mean, with a learned exponent.

    Source: Radenovic et al., TPAMI 2018 (arXiv 1711.02512), equation 3.

    Args:
        p: exponent at the start; 1 is the average, infinity the maximum.
    """

    MIN = 1e-6
    """Smaller values are raised to this, because a power needs positive ones."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([float(p)]))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute (R, C) from feature maps (R, C, h, w)."""
        powers = features.float().clamp(min=self.MIN).pow(self.p)
        return powers.mean(dim=(2, 3)).pow(1 / self.p)


def build_pool(name: str, gem_p: float) -> nn.Module:
    """Build a global pool.

    Args:
        name: "avg" for the average, "gem" for `GeneralizedMeanPool`.
        gem_p: exponent of the latter at the start.
    """
    return GeneralizedMeanPool(gem_p) if name == "gem" else AveragePool()
