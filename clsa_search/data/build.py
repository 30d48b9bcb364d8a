"""Loaders: an endless training stream that resumes exactly, and the pass over a test set.

What a training iteration sees is a function of the seed and its number alone: the order of the
records, the batches and the augmentation. A run that is resumed at iteration k therefore sees what
the uninterrupted one would have seen.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, MapDataset
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from clsa_search.data.catalog import load_training_records
from clsa_search.data.dataset_mapper import PersonSearchDatasetMapper
from clsa_search.errors import InputError


@lru_cache(maxsize=4)
def _shuffle(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of an epoch's records."""
    return np.random.default_rng((seed, epoch)).permutation(count)


class TrainingStream(Dataset):
    """An endless sequence of examples; position p holds the same example at every reading."""

    def __init__(self, *, records: list[dict], mapper: Callable[[dict], dict], seed: int) -> None:
        """
        Args:
            records: the training set.
            mapper: draws its augmentation from NumPy's global generator, as Detectron2's do.
            seed: of the order and the augmentation.
        """
        # serialized once, so that worker processes share the memory
        self.records = DatasetFromList(records, copy=False)
        self.mapper = mapper
        self.seed = seed

    def index(self, position: int) -> int:
        """Which record stands at a position: every record once an epoch, in a new order each."""
        epoch, offset = divmod(position, len(self.records))
        return int(_shuffle(self.seed, epoch, len(self.records))[offset])

    def __getitem__(self, position: int) -> dict:
        outside = np.random.get_state()
        np.random.seed(np.random.SeedSequence((self.seed, position)).generate_state(4))
        try:
            return self.mapper(self.records[self.index(position)])
        finally:
            np.random.set_state(outside)


def iterate_batches(
    index: Callable[[int], int],
    landscape: np.ndarray,
    *,
    batch_size: int,
    start_batch: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[list[int]]:
    """Positions of the stream in batches whose images all stand or all lie, without end.

    Args:
        index: the record at a position.
        landscape: per record, whether the image is wider than high; all equal for no grouping.
        batch_size: of this process.
        start_batch: how many batches to leave out; the rest is as if they had been taken.
        rank, world_size: this process takes every world_size-th position, from rank on.
    """
    groups: dict[bool, list[int]] = {True: [], False: []}
    made = 0
    for position in itertools.count(rank, world_size):
        group = groups[bool(landscape[index(position)])]
        group.append(position)
        if len(group) == batch_size:
            made += 1
            if made > start_batch:
                yield list(group)
            group.clear()


class TrainingLoader:
    """Batches of this process, from iteration `start_iter` on, which a trainer sets to resume.

    Iterating reads `start_iter` when the first batch is asked for, not before.
    """

    def __init__(
        self, stream: TrainingStream, *, total_batch_size: int, num_workers: int, group: bool
    ) -> None:
        """
        Args:
            stream: what to batch.
            total_batch_size: over all processes.
            num_workers: loading processes of this process; 0 loads in line.
            group: whether a batch has images of one orientation only.
        """
        processes = comm.get_world_size()
        if total_batch_size < 1 or total_batch_size % processes:
            raise InputError(
                f"SOLVER.IMS_PER_BATCH is {total_batch_size}; expected a positive multiple of the "
                f"number of processes, {processes}"
            )
        self.stream = stream
        self.batch_size = total_batch_size // processes
        self.num_workers = num_workers
        self.landscape = np.array([group and r["width"] > r["height"] for r in stream.records])
        self.start_iter = 0

    def __iter__(self) -> Iterator[list[dict]]:
        batches = iterate_batches(
            self.stream.index,
            self.landscape,
            batch_size=self.batch_size,
            start_batch=self.start_iter,
            rank=comm.get_rank(),
            world_size=comm.get_world_size(),
        )
        yield from DataLoader(
            self.stream,
            batch_sampler=batches,
            num_workers=self.num_workers,
            collate_fn=trivial_batch_collator,
            # one of its own: starting to load must not draw from the generator that training uses
            generator=torch.Generator(),
        )


def build_train_loader(cfg: CfgNode) -> TrainingLoader:
    """The loader of DATASETS.TRAIN: IMS_PER_BATCH images an iteration over all processes."""
    stream = TrainingStream(
        records=load_training_records(cfg.DATASETS.TRAIN),
        mapper=PersonSearchDatasetMapper(cfg, is_train=True),
        seed=max(cfg.SEED, 0),
    )
    return TrainingLoader(
        stream,
        total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        group=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
    )


class SameSizeBatches(Sampler):
    """Batches of images of one size that follow each other; each image once over all processes.

    The batches are dealt out in turn, so that every process gets small and large ones.
    """

    def __init__(self, sizes: list[tuple[int, int]], batch_size: int) -> None:
        """
        Args:
            sizes: of the images, in order.
            batch_size: at most.
        """
        everyone = itertools.groupby(range(len(sizes)), key=sizes.__getitem__)
        groups = (list(group) for _, group in everyone)
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


def build_test_loader(
    cfg: CfgNode, records: list[dict], *, annotated_boxes: bool = False
) -> DataLoader:
    """Every image once over all processes, with its queries, by size: TEST.IMS_PER_BATCH together.

    Args:
        cfg: of the model.
        records: of a dataset, at least one.
        annotated_boxes: see :class:`PersonSearchDatasetMapper`.

    Raises:
        InputError: TEST.IMS_PER_BATCH is less than 1.
    """
    batch_size = cfg.TEST.IMS_PER_BATCH
    if batch_size < 1:
        raise InputError(f"TEST.IMS_PER_BATCH is {batch_size}; expected 1 or more")
    records = sorted(records, key=_size)
    mapper = PersonSearchDatasetMapper(cfg, is_train=False, annotated_boxes=annotated_boxes)
    return DataLoader(
        MapDataset(DatasetFromList(records, copy=False), mapper),
        batch_sampler=SameSizeBatches([_size(record) for record in records], batch_size),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=trivial_batch_collator,
    )


def _size(record: dict) -> tuple[int, int]:
    return record["height"], record["width"]
