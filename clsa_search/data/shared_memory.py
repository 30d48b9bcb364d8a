"""Shared memory for the batches of data-loading processes.

Loading processes hand over their images in /dev/shm. With too little of it they wait for ever.
"""

import os
from collections.abc import Sequence

from clsa_search.errors import InputError

SHARED_MEMORY = "/dev/shm"
PREFETCHED = 2
"""Number of batches that a loading process holds ready; the default of torch."""


def check_shared_memory(needed: int, free: int | None, num_workers: int) -> None:
    """Check that the batches of the loading processes fit into shared memory.

    Args:
        needed: bytes, see :func:`estimate_shared_memory`.
        free: bytes, see :func:`measure_shared_memory`; None passes.
        num_workers: number of loading processes, for the message.

    Raises:
        InputError: there is too little.
    """
    if free is not None and needed > free:
        raise InputError(
            f"DATALOADER.NUM_WORKERS is {num_workers}, but {SHARED_MEMORY} has "
            f"{free / 2**20:,.0f} MiB free; the batches of the loading processes need about "
            f"{needed / 2**20:,.0f} MiB: expected more shared memory (for Docker --shm-size "
            f"{_round_up(needed)}g), or DATALOADER.NUM_WORKERS 0"
        )


def estimate_shared_memory(
    sizes: Sequence[tuple[int, int]], *, batch_size: int, num_workers: int
) -> int:
    """Return the bytes of all batches that are ready or in use, if they hold the largest image.

    Args:
        sizes: (height, width) of each image of the model, in pixels of three bytes.
        batch_size: images per batch.
        num_workers: number of loading processes; without them nothing is shared.
    """
    if num_workers == 0 or not sizes:
        return 0
    image = 3 * max(height * width for height, width in sizes)
    return (num_workers * PREFETCHED + 1) * batch_size * image


def resize_shortest_edge(size: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """Return the (height, width) of an image after Detectron2's ResizeShortestEdge.

    Args:
        size: (height, width) before.
        shortest: length of the shorter edge; 0 for no change.
        longest: largest length of the longer edge.
    """
    if shortest == 0:
        return size
    scale = min(shortest / min(size), longest / max(size))
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def measure_shared_memory() -> int | None:
    """Return the free bytes of shared memory; None on a system without /dev/shm."""
    if not os.path.isdir(SHARED_MEMORY):
        return None
    status = os.statvfs(SHARED_MEMORY)
    return status.f_bavail * status.f_frsize


def _round_up(size: int) -> int:
    """Return twice a size in whole GiB: other programs share the memory."""
    return -(-2 * size // 2**30)
