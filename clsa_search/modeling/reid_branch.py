"""The re-ID branches: boxes of a batch of images to feature maps at several levels.

N images, R boxes over all images, C channels, h x w grid of a level.
"""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ROIAlign, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from detectron2.structures import Boxes, ImageList
from detectron2.utils.registry import Registry
from torch import nn

from clsa_search.errors import InputError
from clsa_search.modeling.crop_augmentation import build_crop_augmentation
from clsa_search.modeling.crop_normalization import build_crop_normalization
from clsa_search.modeling.regions import to_regions
from clsa_search.modeling.registries import find_class
from clsa_search.modeling.reid_resnet import build_reid_resnet_backbone
from clsa_search.modeling.staged_backbone import BACKBONE_NODES, STAGES, StagedBackbone

REID_BRANCH_REGISTRY = Registry("REID_BRANCH")
REID_BRANCH_REGISTRY.__doc__ = """
Registry of re-ID branches: subclasses of ReIDBranch, built from a config and the shapes of the
detector's feature maps {name: ShapeSpec}.
"""


class ReIDBranch(nn.Module):
    """The interface of re-ID branches."""

    in_features: Sequence[str] = ()
    """Names of the detector's feature maps that the branch reads."""

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of each level, lowest level first."""
        raise NotImplementedError

    def forward(
        self, images: ImageList, features: dict[str, torch.Tensor], boxes: list[Boxes]
    ) -> dict[str, torch.Tensor]:
        """Compute the feature maps of boxes.

        Args:
            images: N normalized images.
            features: feature maps of the detector, at least those of `in_features`.
            boxes: N Boxes in pixels of `images`, R boxes in all.

        Returns:
            {level: (R, C, h, w)}, lowest level first, rows in the order of the boxes.
        """
        raise NotImplementedError


def build_reid_branch(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> ReIDBranch:
    """Build the branch of MODEL.REID.NAME.

    Args:
        cfg: config of the model.
        input_shape: shapes of the detector's feature maps.

    Raises:
        InputError: no branch has this name, it does not have one of MODEL.REID.LEVELS, or it has no
            crops to augment.
    """
    branch = find_class(REID_BRANCH_REGISTRY, cfg.MODEL.REID.NAME, "MODEL.REID.NAME")
    if getattr(branch, "is_trainable", True) and not issubclass(branch, CropBranch):
        for key, probability in cfg.MODEL.REID.AUGMENT.items():
            if probability:
                raise InputError(
                    f"MODEL.REID.AUGMENT.{key} is {probability}; expected 0.0, or MODEL.REID.NAME "
                    f"CropBranch, because {cfg.MODEL.REID.NAME} cuts no crops"
                )
    return branch(cfg, input_shape)


@REID_BRANCH_REGISTRY.register()
class CropBranch(ReIDBranch):
    """A backbone of its own on crops of the input image, as in the paper.

    RoIAlign cuts the crops straight from the image tensor. It averages over the area of each output
    pixel, so there is no aliasing for large boxes.

    Args:
        backbone: backbone with an output for each level.
        levels: outputs of the backbone to match, lowest first.
        crop_size: (height, width) of the crops in pixels.
        normalization: change from the detector's normalization of pixels to the backbone's.
        augmentation: random changes of the crops, in training only; see `build_crop_augmentation`.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        levels: list[str],
        crop_size: tuple[int, int],
        normalization: nn.Module | None = None,
        augmentation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.normalization = normalization or nn.Identity()
        self.augmentation = nn.Identity() if augmentation is None else augmentation
        self.backbone = backbone
        self.levels = levels
        self.crop = ROIAlign(crop_size, spatial_scale=1.0, sampling_ratio=0, aligned=True)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Return the constructor arguments for a config; the detector's shapes are not used."""
        backbone = _build_reid_backbone(cfg)
        return {
            "backbone": backbone,
            "levels": read_levels(cfg, backbone.output_shape()),
            "crop_size": tuple(cfg.MODEL.REID.CROP_SIZE),
            "normalization": build_crop_normalization(cfg),
            "augmentation": build_crop_augmentation(cfg),
        }

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of each level, lowest level first."""
        shapes = self.backbone.output_shape()
        return {level: shapes[level] for level in self.levels}

    def forward(
        self, images: ImageList, features: dict[str, torch.Tensor], boxes: list[Boxes]
    ) -> dict[str, torch.Tensor]:
        """Compute {level: (R, C, h, w)}; see `ReIDBranch`."""
        return self.forward_crops(self.crop(images.tensor, to_regions(boxes)))

    def forward_crops(self, crops: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute {level: (R, C, h, w)} from crops (R, 3, height, width).

        The crops are normalized as the images of the detector.
        """
        outputs = self.backbone(self.normalization(self.augmentation(crops)))
        return {level: outputs[level] for level in self.levels}


@REID_BRANCH_REGISTRY.register()
class SharedBranch(ReIDBranch):
    """Feature maps of the detector's backbone, pooled for each box.

    One backbone for both tasks is the cheapest way; OIM, NAE and SeqNet do so. Detectron2's own
    pooler reads a box from one level that fits its size. This branch reads it from every level.

    Args:
        input_shape: shapes of the levels to match, lowest first.
        pool_size: (height, width) of the grid of every level.
    """

    @configurable
    def __init__(self, *, input_shape: dict[str, ShapeSpec], pool_size: tuple[int, int]) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.in_features = list(input_shape)
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
        """Return the constructor arguments for a config and the detector's feature shapes."""
        return {
            "input_shape": {level: input_shape[level] for level in read_levels(cfg, input_shape)},
            "pool_size": tuple(cfg.MODEL.REID.POOL_SIZE),
        }

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of each level, lowest level first."""
        return self.input_shape

    def forward(
        self, images: ImageList, features: dict[str, torch.Tensor], boxes: list[Boxes]
    ) -> dict[str, torch.Tensor]:
        """Compute {level: (R, C, h, w)}; see `ReIDBranch`."""
        rois = to_regions(boxes)
        return {level: pooler(features[level], rois) for level, pooler in self.poolers.items()}


def _build_reid_backbone(cfg: CfgNode) -> Backbone:
    """Build the backbone of MODEL.REID.BACKBONE with an output for each of MODEL.REID.LEVELS."""
    cfg = cfg.clone()
    cfg.defrost()
    reid = cfg.MODEL.REID
    builder = find_class(BACKBONE_REGISTRY, reid.BACKBONE.NAME, "MODEL.REID.BACKBONE.NAME")
    levels = list(reid.LEVELS)
    # a pyramid over all stages has levels of its own
    is_plain = levels and set(levels) <= set(STAGES) and "_fpn_" not in reid.BACKBONE.NAME
    stages = levels if is_plain else list(STAGES)
    # the builders read the keys of the detector's backbone
    cfg.MODEL.BACKBONE.FREEZE_AT = reid.BACKBONE.FREEZE_AT
    for name in BACKBONE_NODES:
        cfg.MODEL[name] = reid.BACKBONE[name]
        cfg.MODEL[name].OUT_FEATURES = stages
    backbone = builder(cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN)))
    if isinstance(backbone, StagedBackbone):
        _check_crop_size(cfg, backbone)
    if reid.BACKBONE.LAST_STRIDE == 1 and builder is not build_reid_resnet_backbone:
        if not isinstance(backbone, StagedBackbone):
            raise InputError(
                f"MODEL.REID.BACKBONE.LAST_STRIDE is 1, but {reid.BACKBONE.NAME} does not read it; "
                "expected 2, or MODEL.REID.BACKBONE.NAME 'build_reid_resnet_backbone'"
            )
        backbone.use_last_stride_1()
    return backbone


def _check_crop_size(cfg: CfgNode, backbone: StagedBackbone) -> None:
    """Check that the smallest maps of a backbone have a cell; a ResNet pads to one."""
    needed = max(shape.stride for shape in backbone.output_shape().values())
    if min(cfg.MODEL.REID.CROP_SIZE) < needed:
        raise InputError(
            f"MODEL.REID.CROP_SIZE is {list(cfg.MODEL.REID.CROP_SIZE)}; expected sides of {needed} "
            f"pixels or more with {cfg.MODEL.REID.BACKBONE.NAME}, the stride of its last level"
        )


def read_levels(cfg: CfgNode, shapes: dict[str, ShapeSpec]) -> list[str]:
    """Return MODEL.REID.LEVELS, if they are among the given feature maps, lowest first."""
    levels = list(cfg.MODEL.REID.LEVELS)
    possible = sorted(shapes, key=lambda name: shapes[name].stride)
    if not levels or levels != [level for level in possible if level in levels]:
        raise InputError(
            f"MODEL.REID.LEVELS is {levels}; expected one or more of {', '.join(possible)}, "
            f"lowest first: the levels of {cfg.MODEL.REID.NAME} with this config's backbone"
        )
    return levels
