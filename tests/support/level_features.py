"""Random feature maps of three re-ID levels for six boxes."""

import torch
from detectron2.layers import ShapeSpec

CHANNELS = {"res3": 6, "res4": 8, "res5": 10}
LEVELS = tuple(CHANNELS)


def level_shapes(levels=LEVELS):
    """Return the shapes of levels as a re-ID branch gives them."""
    return {level: ShapeSpec(channels=CHANNELS[level]) for level in levels}


def level_features(rows=6, levels=LEVELS):
    """Return {level: (rows, C, 4, 2)}, leaves that need a gradient."""
    generator = torch.Generator().manual_seed(3)
    return {
        level: torch.randn(rows, CHANNELS[level], 4, 2, generator=generator).requires_grad_()
        for level in levels
    }
