"""Operations that differ on a GPU, each with its plain form for other devices.

N images, C channels, H x W pixels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

Tensors = dict[str, torch.Tensor]
TensorFunction = Callable[..., Tensors]
"""Function of tensors whose results have shapes that follow from its arguments' shapes."""

_FUSED_TYPES = {torch.float16, torch.bfloat16, torch.float32}  # of cuDNN's fused convolutions
_ALIGNED = 8  # channels: what its kernels read at once


def conv_relu(
    maps: torch.Tensor, conv: nn.Conv2d, shortcut: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute ReLU(conv(maps) + shortcut); on a GPU as one operation of cuDNN.

    Args:
        maps: (N, C, H, W).
        conv: convolution with a bias.
        shortcut: maps of the result's shape.
    """
    weight, bias = conv.weight, conv.bias
    settings: tuple = (conv.stride, conv.padding, conv.dilation, conv.groups)
    if not _is_fused(maps, conv):
        result = F.conv2d(maps, weight, bias, *settings)
        return F.relu_(result if shortcut is None else result.add_(shortcut))
    if shortcut is None:
        return torch.cudnn_convolution_relu(maps, weight, bias, *settings)
    return torch.cudnn_convolution_add_relu(maps, weight, shortcut, 1.0, bias, *settings)


def _is_fused(maps: torch.Tensor, conv: nn.Conv2d) -> bool:
    """Return whether cuDNN has the operation; a compiler fuses convolutions itself."""
    return (
        maps.is_cuda
        and maps.dtype in _FUSED_TYPES
        and conv.in_channels % _ALIGNED == conv.out_channels % _ALIGNED == 0
        and torch.backends.cudnn.is_available()
        and not torch.version.hip
        and not torch.compiler.is_compiling()
    )


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device; the host does not wait for the device's queue."""
    return tensor.to(device, non_blocking=True)


class Replay:
    """A function of tensors, recorded for the shapes of its arguments.

    On a GPU it is a CUDA graph: one launch in place of hundreds. Elsewhere the function runs anew.

    Args:
        function: function to record; it may not wait for the device.
        arguments: example arguments, all on one device.
        pool: memory pool that recordings share, see `new_pool`; only one of them runs at a time.
    """

    def __init__(
        self, function: TensorFunction, arguments: Sequence[torch.Tensor], pool: Any
    ) -> None:
        # A tensor made in inference mode could not be overwritten outside of it.
        with torch.inference_mode(False), torch.no_grad():
            self._arguments = [argument.clone() for argument in arguments]
            if arguments[0].is_cuda:
                self._capture(function, pool)
            else:
                self._results = function(*self._arguments)
                self._run = lambda: self._refresh(function)

    def __call__(self, *arguments: torch.Tensor) -> Tensors:
        """Return the results for arguments of the recorded shapes, as new tensors."""
        for own, argument in zip(self._arguments, arguments, strict=True):
            own.copy_(argument, non_blocking=True)
        self._run()
        return {name: result.clone() for name, result in self._results.items()}

    def _capture(self, function: TensorFunction, pool: Any) -> None:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._arguments[0].device):
            function(*self._arguments)  # libraries prepare themselves in a first call
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                self._results = function(*self._arguments)
        self._run = graph.replay

    def _refresh(self, function: TensorFunction) -> None:
        for name, result in function(*self._arguments).items():
            self._results[name].copy_(result)


def new_pool(device: torch.device) -> Any:
    """Return a memory pool for recordings on a device, None where there is none."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None
