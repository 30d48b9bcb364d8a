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
        for (height, width), strides, cells in zip(
            grid_sizes, self.steps(grid_sizes), self.cell_anchors, strict=True
        ):
            y, x = (
                (torch.arange(size, dtype=cells.dtype, device=cells.device) + self.offset) * stride
                for size, stride in zip((height, width), strides, strict=True)
            )
            x, y = x.expand(height, width), y[:, None].expand(height, width)
            centers = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
            anchors.append((centers + cells).reshape(-1, 4))
        return anchors

    def steps(self, grid_sizes: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
        """Return the vertical and horizontal distance of the anchors of each feature map."""
        return [(stride, stride) for stride in self.strides]


@ANCHOR_GENERATOR_REGISTRY.register()
class RoundedAnchorGenerator(QuietAnchorGenerator):
    """The anchors of torchvision: corners of whole pixels, and distances that fill the image.

    The image is the padded one, so its size follows from the largest feature map.
    """

    def generate_cell_anchors(
        self, sizes: Sequence[float], aspect_ratios: Sequence[float]
    ) -> torch.Tensor:
        """Return the anchors (A, 4) around the origin, XYXY."""
        return super().generate_cell_anchors(sizes, aspect_ratios).round()

    def steps(self, grid_sizes: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
        """Return the vertical and horizontal distance of the anchors of each feature map."""
        image = [size * self.strides[0] for size in grid_sizes[0]]
        return [(image[0] // height, image[1] // width) for height, width in grid_sizes]


def use_quiet_anchors(cfg: CfgNode) -> CfgNode:
    """Return the config with QuietAnchorGenerator in place of DefaultAnchorGenerator."""
    if cfg.MODEL.ANCHOR_GENERATOR.NAME != DefaultAnchorGenerator.__name__:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.ANCHOR_GENERATOR.NAME = QuietAnchorGenerator.__name__
    return cfg
