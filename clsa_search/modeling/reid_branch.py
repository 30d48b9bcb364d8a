"""The re-ID branches: boxes of a batch of images to features at several levels.

N images, R boxes over all images, C channels, h x w the grid of a level.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ROIAlign, ShapeSpec
from detectron2.modeling.backbone import Backbone, build_resnet_backbone
from detectron2.modeling.poolers import convert_boxes_to_pooler_format
from detectron2.structures import Boxes, ImageList
from detectron2.utils.registry import Registry
from torch import nn

from clsa_search.errors import InputError
from clsa_search.modeling.registries import find_class

REID_BRANCH_REGISTRY = Registry("REID_BRANCH")
REID_BRANCH_REGISTRY.__doc__ = """
Modules built from a config and the detector's {name: ShapeSpec} that have

- forward(images, features, boxes): {level: (R, C, h, w)}, levels lowest first, rows in the order of
  the boxes. `images` are N normalized images, `features` the detector's, `boxes` per image XYXY in
  pixels of `images`.
- output_shape(): channels and stride of each level, lowest level first.
"""

STAGES = ("res2", "res3", "res4", "res5")
"""The outputs that a ResNet backbone can give, lowest first."""


def build_reid_branch(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """The branch that MODEL.REID.NAME names.

    Args:
        cfg: of the model.
        input_shape: of the detector's features.

    Raises:
        InputError: there is no such branch, or its backbone lacks one of MODEL.REID.LEVELS.
    """
    branch = find_class(REID_BRANCH_REGISTRY, cfg.MODEL.REID.NAME, "MODEL.REID.NAME")
    return branch(cfg, input_shape)


@REID_BRANCH_REGISTRY.register()
class CropBranch(nn.Module):
    """Crops of the input image through a backbone of their own, as in the paper.

    The crops come straight from the image tensor by RoIAlign, which averages over each output
    pixel's footprint, so that large people are not aliased.
    """

    @configurable
    def __init__(
        self, *, backbone: Backbone, levels: list[str], crop_size: tuple[int, int]
    ) -> None:
        """
        Args:
            backbone: from images (R, 3, H, W) to a dict that has every level.
            levels: names of the backbone's outputs to match, lowest first.
            crop_size: (height, width) in pixels.
        """
        super().__init__()
        self.backbone = backbone
        self.levels = levels
        self.crop = ROIAlign(crop_size, spatial_scale=1.0, sampling_ratio=0, aligned=True)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        levels = _read_levels(cfg, STAGES)
        backbone_cfg = cfg.clone()
        backbone_cfg.defrost()
        backbone_cfg.MODEL.RESNETS = backbone_cfg.MODEL.REID.RESNETS
        backbone_cfg.MODEL.RESNETS.OUT_FEATURES = levels
        backbone_cfg.MODEL.BACKBONE.FREEZE_AT = cfg.MODEL.REID.FREEZE_AT
        return {
            "backbone": build_resnet_backbone(backbone_cfg, ShapeSpec(channels=3)),
            "levels": levels,
            "crop_size": tuple(cfg.MODEL.REID.CROP_SIZE),
        }

    def output_shape(self) -> dict[str, ShapeSpec]:
        shapes = self.backbone.output_shape()
        return {level: shapes[level] for level in self.levels}

    def forward(
        self, images: ImageList, features: dict[str, torch.Tensor], boxes: list[Boxes]
    ) -> dict[str, torch.Tensor]:
        """See REID_BRANCH_REGISTRY."""
        return self.embed_crops(self.crop(images.tensor, convert_boxes_to_pooler_format(boxes)))

    def embed_crops(self, crops: torch.Tensor) -> dict[str, torch.Tensor]:
        """Normalized crops (R, 3, H, W) of the crop size to features, as :meth:`forward` does."""
        outputs = self.backbone(crops)
        return {level: outputs[level] for level in self.levels}


@REID_BRANCH_REGISTRY.register()
class SharedBranch(nn.Module):
    """Every level of the detector's own features, pooled for every box.

    One backbone serves both tasks: the cheapest way, that of OIM, NAE and SeqNet.
    Detectron2's own pooler sends a box to the one level that fits its size; here each box is read
    from each level.
    """

    @configurable
    def __init__(self, *, input_shape: dict[str, ShapeSpec], pool_size: tuple[int, int]) -> None:
        """
        Args:
            input_shape: of the levels to match, lowest first.
            pool_size: (h, w), the same for every level.
        """
        super().__init__()
        self.input_shape = input_shape
        self.poolers = nn.ModuleDict(
            {
                level: ROIAlign(
                    pool_size, spatial_scale=1.0 / shape.stride, sampling_ratio=0, aligned=True
                )
                for level, shape in input_shape.items()
            }
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        levels = _read_levels(cfg, sorted(input_shape, key=lambda name: input_shape[name].stride))
        return {
            "input_shape": {level: input_shape[level] for level in levels},
            "pool_size": tuple(cfg.MODEL.REID.POOL_SIZE),
        }

    def output_shape(self) -> dict[str, ShapeSpec]:
        return self.input_shape

    def forward(
        self, images: ImageList, features: dict[str, torch.Tensor], boxes: list[Boxes]
    ) -> dict[str, torch.Tensor]:
        """See REID_BRANCH_REGISTRY."""
        rois = convert_boxes_to_pooler_format(boxes)
        return {level: pooler(features[level], rois) for level, pooler in self.poolers.items()}


def _read_levels(cfg: CfgNode, possible: list[str] | tuple[str, ...]) -> list[str]:
    """MODEL.REID.LEVELS, which must be some of the possible ones in their order."""
    levels = list(cfg.MODEL.REID.LEVELS)
    if not levels or levels != [level for level in possible if level in levels]:
        raise InputError(
            f"MODEL.REID.LEVELS is {levels}; expected one or more of {', '.join(possible)}, "
            f"lowest first, which {cfg.MODEL.REID.NAME} can have here"
        )
    return levels
