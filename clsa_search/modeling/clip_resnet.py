"""The ResNets of CLIP and PLIP: three convolutions in the stem, average pools in place of strides.

R crops, C channels, h x w grid.
"""

import torch
from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import BottleneckBlock, ResNet
from torch import nn
from torch.nn import functional as F

from clsa_search.errors import InputError
from clsa_search.modeling.reid_resnet import BLOCKS
from clsa_search.modeling.staged_backbone import register_pyramid

_MIN_DEPTH = 50  # smaller ones have no bottlenecks


@BACKBONE_REGISTRY.register()
def build_clip_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build CLIP's ResNet with DEPTH, NORM and the widths of MODEL.RESNETS.

    Source: Radford et al., ICML 2021 (arXiv 2103.00020), section 2.4.

    Raises:
        InputError: there is none of this depth.
    """
    options = cfg.MODEL.RESNETS
    if options.DEPTH < _MIN_DEPTH:
        raise InputError(
            f"RESNETS.DEPTH is {options.DEPTH}; expected 50, 101 or 152 with "
            "build_clip_resnet_backbone"
        )
    stem = CLIPStem(input_shape.channels, options.STEM_OUT_CHANNELS, options.NORM)
    stages = []
    channels, out_channels = options.STEM_OUT_CHANNELS, options.RES2_OUT_CHANNELS
    for i, count in enumerate(BLOCKS[options.DEPTH]):
        stages.append(
            ResNet.make_stage(
                CLIPBlock,
                num_blocks=count,
                in_channels=channels,
                out_channels=out_channels,
                bottleneck_channels=options.WIDTH_PER_GROUP << i,
                pool_per_block=[2 if i else 1] + [1] * (count - 1),
                norm=options.NORM,
            )
        )
        channels, out_channels = out_channels, 2 * out_channels
    features, freeze_at = options.OUT_FEATURES, cfg.MODEL.BACKBONE.FREEZE_AT
    return ResNet(stem, stages, out_features=features, freeze_at=freeze_at)


class CLIPStem(CNNBlockBase):
    """Three 3 x 3 convolutions and an average pool.

    Args:
        in_channels: channels of the input.
        out_channels: channels C of the output; the first two convolutions have half of them.
        norm: any norm of Detectron2's `get_norm`.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__(in_channels, out_channels, 4)
        half = out_channels // 2
        self.conv1 = _build_conv(in_channels, half, norm, stride=2)
        self.conv2 = _build_conv(half, half, norm)
        self.conv3 = _build_conv(half, out_channels, norm)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Compute (R, C, h, w) from crops (R, 3, 4 h, 4 w)."""
        maps = crops
        for conv in (self.conv1, self.conv2, self.conv3):
            maps = F.relu_(conv(maps))
        return F.avg_pool2d(maps, 2)


class CLIPBlock(BottleneckBlock):
    """Detectron2's bottleneck with average pools in place of its stride.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        pool: width of the pool.
        **arguments: other arguments of BottleneckBlock.
    """

    def __init__(self, in_channels: int, out_channels: int, *, pool: int, **arguments: int) -> None:
        super().__init__(in_channels, out_channels, **{**arguments, "stride": 1})
        self.stride = pool
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Compute (R, C', h', w') from (R, C, h, w)."""
        hidden = F.relu_(self.conv2(F.relu_(self.conv1(maps))))
        hidden = self.conv3(self.pool(hidden))
        shortcut = maps if self.shortcut is None else self.shortcut(self.pool(maps))
        return F.relu_(hidden + shortcut)


def _build_conv(in_channels: int, out_channels: int, norm: str, stride: int = 1) -> Conv2d:
    return Conv2d(
        *(in_channels, out_channels),
        kernel_size=3,
        stride=stride,
        padding=1,
        bias=False,
        norm=get_norm(norm, out_channels),
    )


register_pyramid(build_clip_resnet_backbone)
