"""Operations that differ on a GPU, each with its plain form for other devices.

N images, C channels, H x W pixels, B groups of M boxes.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

Tensors = dict[str, torch.Tensor]
TensorFunction = Callable[..., Tensors]
"""Function of tensors whose results have shapes that follow from its arguments' shapes."""

_FUSED_TYPES = {torch.float16, torch.bfloat16, torch.float32}  # of cuDNN's fused convolutions
ALIGNED = 8
"""Kernels of a GPU read so many channels at once."""

_PINNED_BYTES = 1 << 16  # smaller copies do not wait, and pinning takes longer than they do

# One pass over all pairs; separate operations write each intermediate result to memory. Products
# are rounded on their own, as separate operations round them.
_OVERLAP = """
template <typename T> T overlap(
    T left, T top, T right, T bottom, T left2, T top2, T right2, T bottom2, T limit) {
  T width = (right < right2 ? right : right2) - (left > left2 ? left : left2);
  T height = (bottom < bottom2 ? bottom : bottom2) - (top > top2 ? top : top2);
  T common = __fmul_rn(width > 0 ? width : T(0), height > 0 ? height : T(0));
  T areas = __fmul_rn(right - left, bottom - top) + __fmul_rn(right2 - left2, bottom2 - top2);
  return common / (areas - common) > limit ? T(1) : T(0);
}"""


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
        and conv.in_channels % ALIGNED == conv.out_channels % ALIGNED == 0
        and torch.backends.cudnn.is_available()
        and not torch.version.hip
        and not torch.compiler.is_compiling()
    )


def find_overlaps(boxes: torch.Tensor, max_iou: float) -> torch.Tensor:
    """Find the pairs of boxes with an IoU above a limit; on a GPU in one operation.

    Args:
        boxes: (B, M, 4) float32 XYXY.
        max_iou: the limit.

    Returns:
        (B, M, M) 1 for such a pair, else 0; the type has the fastest products. Two empty boxes
        have no IoU and are no such pair.
    """
    if not boxes.is_cuda or torch.version.hip:
        return _find_overlaps(boxes, max_iou).float()
    ends = *boxes[:, :, None].unbind(dim=3), *boxes[:, None].unbind(dim=3)
    return _compile_overlap()(*ends, limit=max_iou).half()


@cache
def _compile_overlap() -> Callable[..., torch.Tensor]:
    """Return the function of eight float32 tensors and `limit`; a first call compiles it."""
    return torch.cuda.jiterator._create_jit_fn(_OVERLAP, limit=0.0)


def _find_overlaps(boxes: torch.Tensor, max_iou: float) -> torch.Tensor:
    x0, y0, x1, y1 = boxes.unbind(dim=2)
    intersections = _intersect(x0, x1).mul_(_intersect(y0, y1))
    areas = (x1 - x0) * (y1 - y0)
    unions = (areas[:, :, None] + areas[:, None]).sub_(intersections)
    return intersections.div_(unions) > max_iou  # no comparison with 0 / 0 holds


def _intersect(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Return the common lengths (B, M, M) of intervals."""
    ends = torch.minimum(high[:, :, None], high[:, None])
    return ends.sub_(torch.maximum(low[:, :, None], low[:, None])).clamp_(min=0)


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device; the host does not wait for the device's queue."""
    if device.type == "cuda" and not tensor.is_cuda and tensor.nbytes >= _PINNED_BYTES:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def to_float(maps: torch.Tensor) -> torch.Tensor:
    """Convert maps (N, C, H, W) to float32 in the layout that RoIAlign reads fastest.

    Torchvision's kernel of a GPU needs contiguous maps; here type and layout change in one copy.
    """
    if not maps.is_cuda:
        return maps.float()
    return maps.to(torch.float32, memory_format=torch.contiguous_format)


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
            stream = torch.cuda.current_stream()
            function(*self._arguments)  # libraries prepare themselves in a first call
            try:
                with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                    self._results = function(*self._arguments)
            except RuntimeError:
                torch.cuda.set_stream(stream)  # a recording that fails leaves its own stream on
                raise
        self._run = graph.replay

    def _refresh(self, function: TensorFunction) -> None:
        for name, result in function(*self._arguments).items():
            self._results[name].copy_(result)


def new_pool(device: torch.device) -> Any:
    """Return a memory pool for recordings on a device, None where there is none."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None
