"""Limits of the machine: floating-point operations and bytes per second."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.speed.timing import time_call
from clsa_search.engine.precision import DTYPES

_REPEAT = 5


@dataclass(frozen=True)
class Machine:
    """Measured limits of a device.

    Args:
        flops: floating-point operations per second by dtype, the best of products and convolutions.
        bandwidth: bytes per second of memory, the best of a large copy and a large sum.
    """

    flops: Mapping[str, float]
    bandwidth: float


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return device, threads and versions."""
    is_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_gpu else _name_cpu(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def measure_machine(device: torch.device) -> Machine:
    """Measure the limits of a device; the rate of a dtype at its first use."""
    source = torch.ones(2**26, device=device)  # larger than any cache
    target = torch.empty_like(source)
    copying = time_call(lambda: target.copy_(source), device, _REPEAT)
    reading = time_call(lambda: source.sum(), device, _REPEAT)
    return Machine(_Rates(device), source.nbytes * max(2 / copying, 1 / reading))


class _Rates(dict[str, float]):
    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __missing__(self, dtype: str) -> float:
        size = 8192 if self._device.type == "cuda" else 2048
        self[dtype] = _measure_flops(self._device, DTYPES[dtype], size)
        return self[dtype]


@torch.inference_mode()
def _measure_flops(device: torch.device, dtype: torch.dtype, size: int) -> float:
    square = torch.randn(size, size, device=device).to(dtype)
    product = 2 * size**3 / time_call(lambda: square @ square, device, _REPEAT)
    channels, side = 256, size // 16
    maps = torch.randn(1, channels, side, side, device=device)
    weight = torch.randn(channels, channels, 3, 3, device=device)
    maps, weight = (x.to(dtype, memory_format=torch.channels_last) for x in (maps, weight))
    seconds = time_call(lambda: F.conv2d(maps, weight, padding=1), device, _REPEAT)
    return max(product, 2 * 9 * channels**2 * side**2 / seconds)


def _name_cpu() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next((row.partition(": ")[2] for row in lines if row.startswith("model name")), "CPU")
