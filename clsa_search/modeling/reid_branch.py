"""The re-ID branch: boxes of a batch of images to features at several levels.

N images, R boxes over all images, C channels, h x w the grid of a level.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ROIAlign, ShapeSpec
from detectron2.modeling.backbone import Backbone, build_resnet_backbone
from detectron2.modeling.poolers import convert_boxes_to_pooler_format
from detectron2.structures import Boxes, ImageList
from torch import nn

from clsa_search.errors import InputError

STAGES = ("res2", "res3", "res4", "res5")
"""The outputs that a ResNet trunk can give, lowest first."""


class CropBranch(nn.Module):
    """Crops of the input image through a trunk of their own, as in the paper.

    The crops come straight from the image tensor by RoIAlign, which averages over each output
    pixel's footprint, so that large people are not aliased.
    """

    @configurable
    def __init__(self, *, trunk: Backbone, levels: list[str], crop_size: tuple[int, int]) -> None:
        """
        Args:
            trunk: from images (R, 3, H, W) to a dict that has every level.
            levels: names of the trunk's outputs to match, lowest first.
            crop_size: (height, width) in pixels.
        """
        super().__init__()
        self.trunk = trunk
        self.levels = levels
        self.crop = ROIAlign(crop_size, spatial_scale=1.0, sampling_ratio=0, aligned=True)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        levels = list(cfg.MODEL.REID.LEVELS)
        if not levels or levels != [level for level in STAGES if level in levels]:
            raise InputError(
                f"MODEL.REID.LEVELS is {levels}; expected one or more of {', '.join(STAGES)}, "
                "lowest first"
            )
        trunk_cfg = cfg.clone()
        trunk_cfg.defrost()
        trunk_cfg.MODEL.RESNETS = trunk_cfg.MODEL.REID.RESNETS
        trunk_cfg.MODEL.RESNETS.OUT_FEATURES = levels
        trunk_cfg.MODEL.BACKBONE.FREEZE_AT = cfg.MODEL.REID.FREEZE_AT
        return {
            "trunk": build_resnet_backbone(trunk_cfg, ShapeSpec(channels=3)),
            "levels": levels,
            "crop_size": tuple(cfg.MODEL.REID.CROP_SIZE),
        }

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each level, lowest level first."""
        shapes = self.trunk.output_shape()
        return {level: shapes[level] for level in self.levels}

    def forward(
        self, images: ImageList, features: dict[str, torch.Tensor], boxes: list[Boxes]
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            images: N normalised images.
            features: the detector's, not used by this branch.
            boxes: per image, XYXY in pixels of `images`.

        Returns:
            {level: (R, C, h, w)}, rows in the order of `boxes`.
        """
        crops = self.crop(images.tensor, convert_boxes_to_pooler_format(boxes))
        outputs = self.trunk(crops)
        return {level: outputs[level] for level in self.levels}
