"""Time and memory of a call."""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from clsa_search.engine.memory import release_freed_memory


def time_call(call: Callable[[], Any], device: torch.device, repeat: int | None = None) -> float:
    """Return the seconds of one call, or the median of `repeat` calls after one warm-up."""
    times = []
    for _ in range(1 + (repeat or 0)):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return median(times[1:] or times)


def double_up_to(most: int) -> list[int]:
    """Return 1, 2, 4, ... below a number, then the number."""
    return [*(2**power for power in range((most - 1).bit_length())), most]


def peak_memory(call: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Return the peak memory of a call above the memory before it, in MB, and its result."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before: float = torch.cuda.memory_allocated(device)
        result = call()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20, result
    release_freed_memory()
    counter = Path("/proc/self/clear_refs")
    if counter.exists():  # Linux: reset the peak
        counter.write_text("5")
    before = _highest_memory()
    result = call()
    return _highest_memory() - before, result


def _highest_memory() -> float:
    """Return the peak resident memory of this process in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
