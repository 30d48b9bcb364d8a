"""The ResNets of re-ID projects: Detectron2's with another stem, last stride, IBN and non-local.

R crops, C channels, h x w grid.
"""

from collections.abc import Callable
from functools import partial

import torch
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet
from torch import nn

from clsa_search.errors import InputError

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Number of blocks of each stage by the depth of a ResNet."""

STEM_POOLS: dict[str, Callable[[], nn.Module]] = {
    "padded": partial(nn.MaxPool2d, 3, stride=2, padding=1),
    "ceil_mode": partial(nn.MaxPool2d, 3, stride=2, ceil_mode=True),
    "2x2": partial(nn.MaxPool2d, 2),
}
"""Max pools of a stem by the name in MODEL.REID.BACKBONE.STEM.POOL."""


@BACKBONE_REGISTRY.register()
def build_reid_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build a ResNet with the options of MODEL.REID.BACKBONE beside those of MODEL.RESNETS.

    Raises:
        InputError: the ResNet cannot have one of the options.
    """
    options, resnet = cfg.MODEL.REID.BACKBONE, cfg.MODEL.RESNETS
    _check_options(cfg)
    stem = ReIDStem(
        in_channels=input_shape.channels,
        out_channels=resnet.STEM_OUT_CHANNELS,
        norm=resnet.NORM,
        pool=options.STEM.POOL,
        relu=options.STEM.RELU,
    )
    stages = []
    in_channels, out_channels = resnet.STEM_OUT_CHANNELS, resnet.RES2_OUT_CHANNELS
    strides = (1, 2, 2, options.LAST_STRIDE)
    for i, (count, stride) in enumerate(zip(BLOCKS[resnet.DEPTH], strides, strict=True)):
        stages.append(
            ResNet.make_stage(
                num_blocks=count,
                in_channels=in_channels,
                out_channels=out_channels,
                stride_per_block=[stride] + [1] * (count - 1),
                norm=resnet.NORM,
                **_block_arguments(cfg, i),
            )
        )
        in_channels, out_channels = out_channels, 2 * out_channels
    features = resnet.OUT_FEATURES
    return ResNet(stem, stages, out_features=features, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)


class ReIDStem(BasicStem):
    """Detectron2's stem with another max pool, or without its ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels C of the output.
        norm: any norm of Detectron2's `get_norm`.
        pool: name in STEM_POOLS.
        relu: whether there is a ReLU before the pool.
    """

    def __init__(
        self, *, in_channels: int, out_channels: int, norm: str, pool: str, relu: bool
    ) -> None:
        super().__init__(in_channels, out_channels, norm)
        self.relu = nn.ReLU() if relu else nn.Identity()
        self.pool = STEM_POOLS[pool]()

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Compute (R, C, h, w) from crops (R, 3, 4 h, 4 w)."""
        return self.pool(self.relu(self.conv1(crops)))


class ReIDBlock(BottleneckBlock):
    """Detectron2's bottleneck, with an IBN after its first convolution or a non-local block behind.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        norm: any norm of Detectron2's `get_norm`.
        ibn: whether there is an IBN.
        non_local: whether there is a non-local block.
        **arguments: other arguments of BottleneckBlock.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        norm: str,
        ibn: bool,
        non_local: bool,
        **arguments: int,
    ) -> None:
        super().__init__(in_channels, out_channels, norm=norm, **arguments)
        if ibn:
            self.conv1.norm = IBN(self.conv1.out_channels, norm)
        self.non_local = NonLocal(out_channels, norm) if non_local else nn.Identity()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Compute (R, C', h', w') from (R, C, h, w)."""
        return self.non_local(super().forward(maps))


class IBN(nn.Module):
    """Instance norm of the first half of the channels, batch norm of the others.

    Source: Pan et al., ECCV 2018 (arXiv 1807.09441), IBN-a.

    Args:
        channels: number C of channels.
        norm: norm of the second half, any of Detectron2's `get_norm`.
    """

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.split = channels // 2
        # a group for each channel is an instance norm that also takes no crops at all
        self.instance = nn.GroupNorm(self.split, self.split)
        self.batch = get_norm(norm, channels - self.split)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Normalize (R, C, h, w)."""
        first, second = maps[:, : self.split], maps[:, self.split :]
        return torch.cat([self.instance(first), self.batch(second)], dim=1)


class NonLocal(nn.Module):
    """Non-local block of fast-reid: dot products of all cells in a space of one channel.

    Source: Wang et al., CVPR 2018 (arXiv 1711.07971), equation 4 without softmax. So the order of
    the products is free, and the one here needs no matrix of all pairs of cells.

    Args:
        channels: number C of channels.
        norm: norm of the output, any of Detectron2's `get_norm`.
    """

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.g = Conv2d(channels, 1, kernel_size=1)
        self.theta = Conv2d(channels, 1, kernel_size=1)
        self.phi = Conv2d(channels, 1, kernel_size=1)
        self.out = Conv2d(1, channels, kernel_size=1, norm=get_norm(norm, channels))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Add the context of all cells to each of (R, C, h, w)."""
        scale = (self.phi(maps) * self.g(maps)).mean(dim=(2, 3), keepdim=True)
        return maps + self.out(scale * self.theta(maps))


def _block_arguments(cfg: CfgNode, stage: int) -> dict:
    """Return the class of a stage's blocks, 0 for res2, and its own arguments."""
    options, resnet = cfg.MODEL.REID.BACKBONE, cfg.MODEL.RESNETS
    if resnet.DEPTH < 50:
        return {"block_class": BasicBlock}
    arguments: dict = {
        "block_class": BottleneckBlock,
        "bottleneck_channels": resnet.NUM_GROUPS * resnet.WIDTH_PER_GROUP << stage,
        "num_groups": resnet.NUM_GROUPS,
        "stride_in_1x1": resnet.STRIDE_IN_1X1,
    }
    count, behind = BLOCKS[resnet.DEPTH][stage], options.NON_LOCAL[stage]
    ibn = options.IBN and stage < 3  # IBN-a leaves the last stage as it is
    if ibn or behind:
        arguments |= {
            "block_class": ReIDBlock,
            "ibn": ibn,
            "non_local_per_block": [i >= count - behind for i in range(count)],
        }
    return arguments


def _check_options(cfg: CfgNode) -> None:
    options, resnet = cfg.MODEL.REID.BACKBONE, cfg.MODEL.RESNETS
    name = "MODEL.REID.BACKBONE"
    if resnet.DEPTH < 50 and (options.IBN or any(options.NON_LOCAL)):
        raise InputError(
            f"{name}.RESNETS.DEPTH is {resnet.DEPTH}; expected 50, 101 or 152 with {name}.IBN or "
            f"{name}.NON_LOCAL"
        )
    for i, (behind, count) in enumerate(zip(options.NON_LOCAL, BLOCKS[resnet.DEPTH], strict=True)):
        if behind > count:
            raise InputError(
                f"{name}.NON_LOCAL is {list(options.NON_LOCAL)}; expected at most {count} for "
                f"res{i + 2} of a ResNet-{resnet.DEPTH}"
            )
    if resnet.RES5_DILATION != 1 or any(resnet.DEFORM_ON_PER_STAGE):
        raise InputError(
            f"{name}.NAME is 'build_reid_resnet_backbone', which has no dilation and no deformable "
            "convolutions; expected 'build_resnet_backbone' for these"
        )
