"""Time and memory of a piece of work, for the benchmarks of this project's own code."""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from clsa_search.engine.memory import release_freed_memory


def time_call(work: Callable[[], Any], device: torch.device, repeat: int | None = None) -> float:
    """Seconds: of one time, or the median of `repeat` after a first time that does not count."""
    times = []
    for _ in range(1 + (repeat or 0)):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return median(times[1:] or times)


def double_up_to(most: int) -> list[int]:
    """1, 2, 4 and so on below a number, and the number."""
    return [*(2**power for power in range((most - 1).bit_length())), most]


def peak_memory(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Highest use of memory while at work beyond that before, in MB, and what the work gave."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = work()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20, result
    release_freed_memory()
    counter = Path("/proc/self/clear_refs")
    if counter.exists():  # Linux: forget the peak so far
        counter.write_text("5")
    before = _highest_memory()
    result = work()
    return _highest_memory() - before, result


def _highest_memory() -> float:
    """Peak resident memory of this process in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
