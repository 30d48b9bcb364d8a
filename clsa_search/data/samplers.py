"""Which records come next: the endless order of training, and batches of images of equal shape."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from detectron2.utils import comm
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Endless record numbers: every record once per epoch, each epoch in a new order.

    The processes take turns in one common order, as with Detectron2's TrainingSampler. The order is
    a function of seed and epoch, so a second pass over the sampler repeats the first.

    Args:
        size: number of records, at least 1.
        seed: seed of the order.
    """

    def __init__(self, size: int, *, seed: int) -> None:
        self.size = size
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._all(), comm.get_rank(), None, comm.get_world_size())

    def _all(self) -> Iterator[int]:
        for epoch in itertools.count():
            yield from np.random.default_rng((self.seed, epoch)).permutation(self.size).tolist()


def group_batches(
    sampler: Iterable[int], landscape: np.ndarray, *, batch_size: int, start_batch: int = 0
) -> Iterator[list[tuple[int, int]]]:
    """Yield batches of (position, record number), all landscape or all portrait.

    The position numbers the training examples of all processes, and the augmentation depends on it.

    Args:
        sampler: endless record numbers of this process.
        landscape: (N,) bool, True where an image is wider than high; all equal for no grouping.
        batch_size: images per batch of this process.
        start_batch: number of batches to skip; the later ones are the same as without skipping.
    """
    groups: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    complete = 0
    positions = itertools.count(comm.get_rank(), comm.get_world_size())
    for position, record in zip(positions, sampler, strict=False):
        group = groups[bool(landscape[record])]
        group.append((position, record))
        if len(group) == batch_size:
            complete += 1
            if complete > start_batch:
                yield list(group)
            group.clear()


class SameSizeBatches(Sampler[list[int]]):
    """Batches of neighboring images of one size; each image once over all processes.

    The processes take turns, so that each gets small and large images.

    Args:
        sizes: (height, width) of each image.
        batch_size: largest number of images per batch.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], batch_size: int) -> None:
        runs = itertools.groupby(range(len(sizes)), key=sizes.__getitem__)
        groups = [list(run) for _, run in runs]
        batches = [
            group[start : start + batch_size]
            for group in groups
            for start in range(0, len(group), batch_size)
        ]
        self._batches = batches[comm.get_rank() :: comm.get_world_size()]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)
