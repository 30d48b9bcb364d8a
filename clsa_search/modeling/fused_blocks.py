"""Convolutions with bias, shortcut and ReLU in one operation, in place of Detectron2's blocks.

A GPU adds biases and shortcuts slowly: without this they take more time than the convolutions.
N images, C channels, H x W pixels.
"""

from collections.abc import Callable, Iterable

import torch
from detectron2.layers import Conv2d
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from torch import nn
from torch.nn import functional as F

from clsa_search.modeling.gpu_ops import conv_relu


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


def fuse_blocks(model: nn.Module) -> None:
    """Replace stems, blocks and convolutions with ReLU, where no norm is left, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if fused := _fuse(child):
                setattr(parent, name, fused)


def _fuse(module: nn.Module) -> nn.Module | None:
    """Return the fused form of a module, None if it has none."""
    kind = type(module)
    if kind is Conv2d:
        has_relu = isinstance(module.activation, nn.ReLU)
        return FusedConv(module) if has_relu and module.norm is None else None
    forms: dict[type, Callable[..., nn.Module]] = {
        BasicStem: FusedStem,
        BasicBlock: FusedBlock,
        BottleneckBlock: FusedBlock,
    }
    if kind not in forms or not all(_is_bare(conv) for conv in module.children()):
        return None
    return forms[kind](module)


def _is_bare(module: nn.Module) -> bool:
    return type(module) is Conv2d and module.norm is None and module.activation is None


def _list_convs(block: nn.Module) -> list[Conv2d]:
    """Return the convolutions of a block in their order, without the shortcut's."""
    names = ("conv1", "conv2", "conv3")
    return [getattr(block, name) for name in names if hasattr(block, name)]


def _require_bias(conv: Conv2d) -> Conv2d:
    """Give a convolution a bias of zeros if it has none."""
    if conv.bias is None:
        conv.bias = nn.Parameter(conv.weight.new_zeros(conv.out_channels))
    return conv
