"""Parts of C4 detectors: boxes pooled from res4, and a res5 on each pooled box.

R boxes over all images, C channels, h x w grid of a pooled box.
"""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import Res5ROIHeads
from detectron2.structures import Boxes, ImageList
from torch import nn

from clsa_search.modeling.reid_branch import REID_BRANCH_REGISTRY, ReIDBranch, read_levels


@ROI_HEADS_REGISTRY.register()
class MaxPooledRes5ROIHeads(Res5ROIHeads):
    """Res5ROIHeads with a maximum over each box in place of the average; SeqNet uses them."""

    def _shared_roi_transform(
        self, features: list[torch.Tensor], boxes: list[Boxes]
    ) -> torch.Tensor:
        """Return the features of boxes, (R, C, 1, 1)."""
        return super()._shared_roi_transform(features, boxes).amax(dim=(2, 3), keepdim=True)


@REID_BRANCH_REGISTRY.register()
class Res5Branch(ReIDBranch):
    """The detector's res4, pooled for each box, and a res5 of the branch on it.

    Args:
        in_features: name of the detector's res4.
        pooler: pooler of its boxes.
        res5: stage of a ResNet on the pooled boxes.
        shapes: shapes of res4 and res5.
        levels: levels to match, lowest first.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: Sequence[str],
        pooler: ROIPooler,
        res5: nn.Module,
        shapes: dict[str, ShapeSpec],
        levels: list[str],
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.pooler = pooler
        self.res5 = res5
        self.shapes = shapes
        self.levels = levels

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Return the constructor arguments for a config and the detector's feature shapes."""
        parts = Res5ROIHeads.from_config(cfg, input_shape)
        (name,) = parts["in_features"]
        res4 = input_shape[name]
        res5 = ShapeSpec(channels=cfg.MODEL.RESNETS.RES2_OUT_CHANNELS * 8, stride=res4.stride * 2)
        shapes = {"res4": res4, "res5": res5}
        return {
            "in_features": [name],
            "pooler": parts["pooler"],
            "res5": nn.Sequential(*parts["res5"]),
            "shapes": shapes,
            "levels": read_levels(cfg, shapes),
        }

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of each level, lowest level first."""
        return {level: self.shapes[level] for level in self.levels}

    def forward(
        self, images: ImageList, features: dict[str, torch.Tensor], boxes: list[Boxes]
    ) -> dict[str, torch.Tensor]:
        """Compute {level: (R, C, h, w)}; see `ReIDBranch`."""
        pooled = self.pooler([features[name] for name in self.in_features], boxes)
        maps = {"res4": pooled, "res5": self.res5(pooled)}
        return {level: maps[level] for level in self.levels}
