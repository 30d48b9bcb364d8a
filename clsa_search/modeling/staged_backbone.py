"""ConvNeXt and Swin of torchvision as backbones with the names and the contract of a ResNet.

N images, C channels, H x W pixels.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import nn
from torch.nn import functional as F
from torchvision.models import SwinTransformer
from torchvision.models.convnext import CNBlockConfig, ConvNeXt, LayerNorm2d
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from clsa_search.errors import InputError

STAGES = ("res2", "res3", "res4", "res5")
"""Names of the stages, lowest first, as Detectron2's ResNet has them."""

BACKBONE_NODES = ("RESNETS", "CONVNEXT", "SWIN", "TIMM")
"""Nodes with the keys of a kind of backbone, below MODEL and MODEL.REID.BACKBONE."""

_STEM_STRIDE = 4
_HEAD_WIDTH = 32  # channels of an attention head in every Swin

CONVNEXTS: dict[str, tuple[Sequence[int], int]] = {
    "tiny": ((3, 3, 9, 3), 96),
    "small": ((3, 3, 27, 3), 96),
    "base": ((3, 3, 27, 3), 128),
    "large": ((3, 3, 27, 3), 192),
}
"""Number of blocks of each stage, and channels of res2, by MODEL.CONVNEXT.SIZE."""

SWINS: dict[str, tuple[Sequence[int], int]] = {
    "t": ((2, 2, 6, 2), 96),
    "s": ((2, 2, 18, 2), 96),
    "b": ((2, 2, 18, 2), 128),
}
"""As CONVNEXTS, by MODEL.SWIN.SIZE."""


class StagedBackbone(Backbone):
    """A stem and up to four stages, each of half the resolution of the one below.

    Each output has a norm of its own, as detectors on these networks have it: the stages add to
    their input without end, so that the scales of their maps differ widely.

    Args:
        stem: images (N, 3, H, W) to the maps of the first stage.
        stages: lowest first; a stage after the first one begins with its downsampling.
        channels: channels of the first stage; every other has twice those of the one below.
        norm: number of channels to the norm of an output.
        out_features: names of the outputs in STAGES. Stages above the highest are left out.
        freeze_at: number of first parts with fixed weights: 1 the stem, 2 the stem and res2.
        is_channels_last: whether the maps of the stages are (N, H, W, C).
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Iterable[nn.Sequential],
        *,
        channels: int,
        norm: Callable[[int], nn.Module],
        out_features: Sequence[str],
        freeze_at: int,
        is_channels_last: bool,
    ) -> None:
        super().__init__()
        self.is_channels_last = is_channels_last
        self._out_features = [name for name in STAGES if name in out_features]
        self._out_feature_strides = {x: _STEM_STRIDE << i for i, x in enumerate(STAGES)}
        self._out_feature_channels = {x: channels << i for i, x in enumerate(STAGES)}
        self.stem = stem
        self.stages: list[nn.Sequential] = []  # Detectron2's ResNet has this list too
        count = STAGES.index(self._out_features[-1]) + 1
        for name, stage in zip(STAGES[:count], stages, strict=False):
            self.add_module(name, stage)
            self.stages.append(stage)
        for name in self._out_features:
            self.add_module(f"norm_{name}", norm(self._out_feature_channels[name]))
        self._frozen = self._list_parts(freeze_at)
        for part in self._frozen:
            part.requires_grad_(False)

    def _list_parts(self, count: int) -> list[nn.Module]:
        """Return the modules of the first parts: the stem, and stages with their norms."""
        names = [name for x in STAGES[: max(count - 1, 0)] for name in (x, f"norm_{x}")]
        names = ["stem", *names] if count else []
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def train(self, mode: bool = True) -> "StagedBackbone":
        """Set the mode; fixed parts drop no paths in training either."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute {name: (N, C, H / stride, W / stride)} from (N, 3, H, W)."""
        is_recorded = torch.jit.is_tracing() or torch.compiler.is_compiling()
        if self.is_channels_last and (is_recorded or not len(images)):
            # torchvision cannot cut no images to windows: one more, which is dropped
            more = torch.cat([images, images.new_zeros(1, *images.shape[1:])])
            return {name: maps[:-1] for name, maps in self._compute(more).items()}
        return self._compute(images)

    def use_last_stride_1(self) -> None:
        """Give res5 the resolution of res4; each cell sees the pixels that it saw before.

        Raises:
            InputError: the downsampling of the network has no stride.
        """
        stage = self.stages[-1]
        down = next(stage.children())
        if len(self.stages) < len(STAGES) or not isinstance(down, nn.Sequential):
            raise InputError(
                "MODEL.REID.BACKBONE.LAST_STRIDE is 1, but only a ConvNeXt or ResNet with res5 can "
                "have it; expected 2"
            )
        stage[0] = _DenseDownsampling(*down)
        self._out_feature_strides[STAGES[-1]] //= 2

    def _compute(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        maps, outputs = self.stem(images), {}
        for name in STAGES[: len(self.stages)]:
            maps = getattr(self, name)(maps)
            if name in self._out_features:
                output = getattr(self, f"norm_{name}")(maps)
                outputs[name] = output.permute(0, 3, 1, 2) if self.is_channels_last else output
        return outputs

    def layer_depth(self, name: str) -> int:
        """Return the depth of a parameter: 0 in the stem, then one more with each block.

        A downsampling is as deep as the block after it, the norm of an output as its last block.
        """
        part, *rest = name.removeprefix("norm_").split(".")
        if part == "stem":
            return 0
        index = STAGES.index(part)
        below = sum(_count_blocks(stage) for stage in self.stages[:index])
        if name.startswith("norm_"):
            return below + _count_blocks(self.stages[index])
        return below + max(int(rest[0]) + (index == 0), 1)

    @property
    def depth(self) -> int:
        """Number of blocks, the largest depth of a parameter."""
        return sum(map(_count_blocks, self.stages))


class _DenseDownsampling(nn.Sequential):
    """Norm and convolution of 2 x 2 cells at every cell."""

    def __init__(self, norm: nn.Module, conv: nn.Conv2d) -> None:
        super().__init__(norm, conv)
        conv.stride = (1, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        norm, conv = self
        return conv(F.pad(norm(maps), (0, 1, 0, 1)))


def _count_blocks(stage: nn.Module) -> int:
    return sum(hasattr(layer, "stochastic_depth") for layer in stage.children())


def _split_layers(layers: nn.Sequential) -> tuple[nn.Module, list[nn.Sequential]]:
    """Return the stem and the stages of torchvision's `features`: stem, blocks, (down, blocks)."""
    stem, *parts = layers.children()
    stages = [nn.Sequential(*parts[0].children())]
    for down, blocks in zip(parts[1::2], parts[2::2], strict=True):
        stages.append(nn.Sequential(down, *blocks.children()))
    return stem, stages


def _read_size(cfg: CfgNode, sizes: dict[str, tuple[Sequence[int], int]]) -> tuple[list[int], int]:
    """Return the number of blocks of each stage and the channels of res2."""
    blocks, channels = sizes[cfg.SIZE]
    return list(cfg.DEPTHS or blocks), cfg.WIDTH or channels


@BACKBONE_REGISTRY.register()
def build_convnext_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> StagedBackbone:
    """Build torchvision's ConvNeXt of MODEL.CONVNEXT (Liu et al., CVPR 2022, arXiv 2201.03545)."""
    options = cfg.MODEL.CONVNEXT
    blocks, channels = _read_size(options, CONVNEXTS)
    settings = [
        CNBlockConfig(channels << i, None if i == 3 else channels << i + 1, count)
        for i, count in enumerate(blocks)
    ]
    network = ConvNeXt(settings, stochastic_depth_prob=options.DROP_PATH, num_classes=1)
    return StagedBackbone(
        *_split_layers(network.features),
        channels=channels,
        norm=partial(LayerNorm2d, eps=1e-6),
        out_features=options.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        is_channels_last=False,
    )


@BACKBONE_REGISTRY.register()
def build_swin_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> StagedBackbone:
    """Build torchvision's Swin of MODEL.SWIN (Liu et al., ICCV 2021 and CVPR 2022)."""
    options = cfg.MODEL.SWIN
    blocks, channels = _read_size(options, SWINS)
    window, version = 7, {}
    if options.VERSION == 2:
        window, version = 8, {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
    network = SwinTransformer(
        patch_size=[_STEM_STRIDE] * 2,
        embed_dim=channels,
        depths=blocks,
        num_heads=[max((channels << i) // _HEAD_WIDTH, 1) for i in range(len(blocks))],
        window_size=[window] * 2,
        stochastic_depth_prob=options.DROP_PATH,
        num_classes=1,
        **version,
    )
    return StagedBackbone(
        *_split_layers(network.features),
        channels=channels,
        norm=partial(nn.LayerNorm, eps=1e-5),
        out_features=options.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        is_channels_last=True,
    )


def register_pyramid(build: Callable[[CfgNode, ShapeSpec], Backbone]) -> None:
    """Register a feature pyramid over a backbone, under its name with _fpn before _backbone."""

    def build_pyramid(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
        bottom_up = build(cfg, input_shape)
        possible = bottom_up.output_shape()
        if not set(cfg.MODEL.FPN.IN_FEATURES) <= set(possible):
            raise InputError(
                f"MODEL.FPN.IN_FEATURES is {list(cfg.MODEL.FPN.IN_FEATURES)}; expected some of "
                f"{', '.join(possible)}, the outputs of {cfg.MODEL.BACKBONE.NAME}"
            )
        strides = [possible[name].stride for name in cfg.MODEL.FPN.IN_FEATURES]
        if any(high != 2 * low for low, high in pairwise(strides)):
            raise InputError(
                f"MODEL.BACKBONE.NAME is {cfg.MODEL.BACKBONE.NAME}, whose outputs have the strides "
                f"{', '.join(map(str, strides))}; expected each to be twice the one before"
            )
        return FPN(
            bottom_up,
            cfg.MODEL.FPN.IN_FEATURES,
            cfg.MODEL.FPN.OUT_CHANNELS,
            norm=cfg.MODEL.FPN.NORM,
            top_block=LastLevelMaxPool(),
            fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
        )

    build_pyramid.__name__ = build.__name__.replace("_backbone", "_fpn_backbone")
    build_pyramid.__module__ = build.__module__
    BACKBONE_REGISTRY.register(build_pyramid)


for _build in (build_convnext_backbone, build_swin_backbone):
    register_pyramid(_build)
