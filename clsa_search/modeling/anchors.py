"""Anchors of the RPN."""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.modeling import ANCHOR_GENERATOR_REGISTRY
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator


@ANCHOR_GENERATOR_REGISTRY.register()
class QuietAnchorGenerator(DefaultAnchorGenerator):
    """The anchors of DefaultAnchorGenerator, without its call of torch.meshgrid that warns."""

    def _grid_anchors(self, grid_sizes: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Return the anchors (H * W * A, 4) of each feature map of (H, W)."""
        anchors = []
        for (height, width), stride, cells in zip(
            grid_sizes, self.strides, self.cell_anchors, strict=True
        ):
            y, x = (
                (torch.arange(size, dtype=cells.dtype, device=cells.device) + self.offset) * stride
                for size in (height, width)
            )
            x, y = x.expand(height, width), y[:, None].expand(height, width)
            centers = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
            anchors.append((centers + cells).reshape(-1, 4))
        return anchors


def use_quiet_anchors(cfg: CfgNode) -> CfgNode:
    """Return the config with QuietAnchorGenerator in place of DefaultAnchorGenerator."""
    if cfg.MODEL.ANCHOR_GENERATOR.NAME != DefaultAnchorGenerator.__name__:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.ANCHOR_GENERATOR.NAME = QuietAnchorGenerator.__name__
    return cfg
