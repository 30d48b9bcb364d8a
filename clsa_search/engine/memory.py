"""Reuse of freed CPU memory, and the message for too little memory.

:func:`keep_freed_memory` changes how the whole process allocates memory. Commands call it; the
library does not.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from clsa_search.errors import InputError

_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -4, -1, -2  # parameters of glibc's mallopt
_STEP = 1 << 26  # bytes by which the heap grows


def keep_freed_memory(device: str | torch.device = "cpu") -> bool:
    """Let this process keep freed memory for later tensors.

    By default glibc returns large blocks to the system at once, and the system fills every new
    feature map with zeros, page by page: a third of the time of a ResNet-50 on a CPU. Afterwards
    the process stays as large as its peak. Only glibc on Linux needs this.

    Args:
        device: device of the model. Nothing changes unless it is a CPU.

    Returns:
        Whether the process keeps freed memory now.
    """
    if torch.device(device).type != "cpu":
        return False
    libc = _find_glibc()
    settings = (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _STEP)
    return libc is not None and all([libc.mallopt(name, value) for name, value in settings])


def release_freed_memory() -> None:
    """Return all freed memory to the system, also after :func:`keep_freed_memory`."""
    libc = _find_glibc()
    if libc is not None:
        libc.malloc_trim(0)


@contextmanager
def reported_out_of_memory(cause: str, expected: str) -> Iterator[None]:
    """Raise an InputError if the block runs out of the memory of a GPU, or of a CPU.

    Args:
        cause: name and value of the setting that decides on the memory.
        expected: what to choose in its place.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        is_known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not is_known and "can't allocate memory" not in str(error):  # torch's words for a CPU
            raise
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{cause}: out of memory ({reason}); expected {expected}") from error


def _find_glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
