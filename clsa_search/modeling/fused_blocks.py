"""Convolutions with bias, shortcut and ReLU in one operation, in place of Detectron2's blocks.

A GPU adds biases and shortcuts slowly: without this they take more time than the convolutions.
N images, C channels, H x W pixels.
"""

from collections.abc import Iterable
from typing import Any

import torch
from detectron2.layers import Conv2d
from detectron2.modeling.backbone import FPN
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from torch import nn
from torch.nn import functional as F

from clsa_search.modeling.gpu_ops import ALIGNED, conv_relu


class FusedConv(nn.Module):
    """Convolution with ReLU.

    Args:
        conv: convolution with a ReLU as its activation.
    """

    def __init__(self, conv: Conv2d) -> None:
        super().__init__()
        self.conv = _require_bias(conv)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Compute (N, C', H', W') from (N, C, H, W)."""
        return conv_relu(maps, self.conv)


class FusedStem(nn.Module):
    """Stem of a ResNet: convolution, ReLU, max pool.

    Args:
        stem: Detectron2's stem.
    """

    def __init__(self, stem: BasicStem) -> None:
        super().__init__()
        self.conv = _require_bias(stem.conv1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute (N, C, H / 4, W / 4) from (N, 3, H, W)."""
        return F.max_pool2d(conv_relu(images, self.conv), kernel_size=3, stride=2, padding=1)


class FusedBlock(nn.Module):
    """Block of a ResNet.

    The bias of the shortcut's convolution is added with that of the last convolution.

    Args:
        block: Detectron2's block with two or three convolutions.
    """

    def __init__(self, block: BasicBlock | BottleneckBlock) -> None:
        super().__init__()
        convs = [_require_bias(conv) for conv in _list_convs(block)]
        self.convs: Iterable[Conv2d] = nn.ModuleList(convs[:-1])
        self.last = convs[-1]
        self.shortcut = block.shortcut
        if self.shortcut is not None and self.shortcut.bias is not None:
            self.last.bias = nn.Parameter(self.last.bias + self.shortcut.bias)
            self.shortcut.bias = None

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Compute (N, C', H', W') from (N, C, H, W)."""
        hidden = maps
        for conv in self.convs:
            hidden = conv_relu(hidden, conv)
        shortcut = maps if self.shortcut is None else self.shortcut(maps)
        return conv_relu(hidden, self.last, shortcut)


class FusedFPN(FPN):
    """Feature pyramid whose lateral biases are added to the smaller maps of the level above.

    Args:
        fpn: Detectron2's pyramid, which sums its levels; this one takes its parts.
    """

    def __init__(self, fpn: FPN) -> None:
        channels = next(iter(fpn.output_shape().values())).channels
        super().__init__(fpn.bottom_up, fpn.in_features, channels, top_block=fpn.top_block)
        for name, part in fpn.named_children():
            setattr(self, name, part)
        self.lateral_convs = [_require_bias(conv) for conv in fpn.lateral_convs]
        self.output_convs = fpn.output_convs

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute {name: (N, C, H / stride, W / stride)} from (N, 3, H, W), lowest level first."""
        stages = self.bottom_up(images)
        levels = zip(reversed(self.in_features), self.lateral_convs, self.output_convs, strict=True)
        name, lateral, output = next(levels)
        hidden = lateral(stages[name])
        results = [output(hidden)]
        for name, lateral, output in levels:
            above = hidden + lateral.bias[:, None, None]
            hidden = F.conv2d(stages[name], lateral.weight)
            # each pixel of the level above is added to four; enlarging it first is slow on a GPU
            quads = hidden.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
            quads.add_(above[:, :, :, None, :, None])
            results.insert(0, output(hidden))
        if self.top_block is not None:
            maps = {**stages, **dict(zip(self._out_features, results, strict=False))}
            results += self.top_block(maps[self.top_block.in_feature])
        return dict(zip(self._out_features, results, strict=True))


class FusedRPNHead(nn.Module):
    """Head of an RPN whose logits and deltas are one matrix product, with its biases.

    Args:
        head: Detectron2's head.
    """

    def __init__(self, head: StandardRPNHead) -> None:
        super().__init__()
        self.conv = _fuse(head.conv) or head.conv
        layers = head.objectness_logits, head.anchor_deltas
        widths = [layer.out_channels for layer in layers]
        rest = -sum(widths) % ALIGNED
        self.splits = [*widths, rest]
        self.weight = nn.Parameter(
            F.pad(torch.cat([x.weight.flatten(1) for x in layers]), (0, 0, 0, rest))
        )
        self.bias = nn.Parameter(F.pad(torch.cat([x.bias for x in layers]), (0, rest)))

    def forward(
        self, features: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Compute logits (N, A, H, W) and deltas (N, A * 4, H, W) of each level's maps."""
        predictions: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
        for maps in features:
            pixels = self.conv(maps).permute(0, 2, 3, 1)
            outputs = F.linear(pixels, self.weight, self.bias).permute(0, 3, 1, 2)
            for levels, part in zip(predictions, outputs.split(self.splits, 1), strict=False):
                levels.append(part)
        return predictions


def fuse_blocks(model: nn.Module) -> None:
    """Replace blocks, pyramids, RPN heads and convolutions with ReLU, in place.

    Those with a norm stay.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if fused := _fuse(child):
                setattr(parent, name, fused)


def _fuse(module: Any) -> nn.Module | None:
    """Return the fused form of a module, None if it has none."""
    kind = type(module)
    if kind is Conv2d and isinstance(module.activation, nn.ReLU) and module.norm is None:
        return FusedConv(module)
    if kind is FPN and module._fuse_type == "sum" and _are_bare(module.lateral_convs):
        return FusedFPN(module)
    if kind is StandardRPNHead:
        return FusedRPNHead(module)
    if kind is BasicStem and _are_bare(module.children()):
        return FusedStem(module)
    if kind in (BasicBlock, BottleneckBlock) and _are_bare(module.children()):
        return FusedBlock(module)
    return None


def _are_bare(modules: Iterable[nn.Module]) -> bool:
    """Return whether modules are convolutions without norms and activations."""
    return all(type(x) is Conv2d and x.norm is None and x.activation is None for x in modules)


def _list_convs(block: nn.Module) -> list[Conv2d]:
    """Return the convolutions of a block in their order, without the shortcut's."""
    names = ("conv1", "conv2", "conv3")
    return [getattr(block, name) for name in names if hasattr(block, name)]


def _require_bias(conv: Conv2d) -> Conv2d:
    """Give a convolution a bias of zeros if it has none."""
    if conv.bias is None:
        conv.bias = nn.Parameter(conv.weight.new_zeros(conv.out_channels))
    return conv
