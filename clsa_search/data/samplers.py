"""Which records come next: the endless order of training, and batches of images of equal shape."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from detectron2.utils import comm
from torch.utils.data import Sampler

from clsa_search.errors import InputError


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


class IdentitySampler(Sampler[int]):
    """Endless record numbers in groups of one identity, so that a batch holds positives.

    Every epoch has each identity once, in a new order. An identity with too few records repeats
    some. Records without a labeled box are left out. The processes take turns group by group.
    Source: Hermans et al., "In Defense of the Triplet Loss" (arXiv 1703.07737), section 2.

    Args:
        person_ids: identity of each record, UNLABELED for none.
        group_size: number K of records per identity and group.
        batch_size: records per batch of this process; K must divide it.
        seed: seed of the order.

    Raises:
        InputError: K does not divide the batch, or the batch holds more identities than there are.
    """

    def __init__(
        self, person_ids: Sequence[int], *, group_size: int, batch_size: int, seed: int
    ) -> None:
        ids = np.asarray(person_ids, dtype=np.int64)
        self.rows = [np.flatnonzero(ids == person) for person in np.unique(ids[ids >= 0])]
        self.group_size = group_size
        self.seed = seed
        if group_size < 1 or batch_size % group_size:
            raise InputError(
                f"DATALOADER.IMS_PER_IDENTITY is {group_size}; expected a divisor of {batch_size}, "
                "the images of SOLVER.IMS_PER_BATCH for each process"
            )
        if (identities := batch_size // group_size) > len(self.rows):
            raise InputError(
                f"SOLVER.IMS_PER_BATCH and DATALOADER.IMS_PER_IDENTITY {group_size} make batches "
                f"of {identities} identities, but DATASETS.TRAIN has {len(self.rows)}; expected "
                f"at most {len(self.rows) * group_size} images for each process"
            )

    def __iter__(self) -> Iterator[int]:
        groups = itertools.islice(self._all(), comm.get_rank(), None, comm.get_world_size())
        return itertools.chain.from_iterable(groups)

    def _all(self) -> Iterator[list[int]]:
        for epoch in itertools.count():
            rng = np.random.default_rng((self.seed, epoch))
            for identity in rng.permutation(len(self.rows)):
                rows = self.rows[identity]
                repeats = -(-self.group_size // len(rows))
                order = np.concatenate([rng.permutation(rows) for _ in range(repeats)])
                yield order[: self.group_size].tolist()


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
