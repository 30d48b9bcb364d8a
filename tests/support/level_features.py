"""Random feature maps of three re-ID levels for six boxes."""

import torch

from clsa_search.modeling import CLSAHead

CHANNELS = {"res3": 6, "res4": 8, "res5": 10}
LEVELS = tuple(CHANNELS)


def build_heads(levels=LEVELS, **arguments):
    """Return a head of the paper for each level, with embeddings of seven numbers."""
    return {
        level: CLSAHead(in_channels=CHANNELS[level], embed_dim=7, **arguments) for level in levels
    }


def level_features(rows=6, levels=LEVELS):
    """Return {level: (rows, C, 4, 2)}, leaves that need a gradient."""
    generator = torch.Generator().manual_seed(3)
    return {
        level: torch.randn(rows, CHANNELS[level], 4, 2, generator=generator).requires_grad_()
        for level in levels
    }
