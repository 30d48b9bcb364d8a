"""The loaders of training and test sets.

The order of the training records, the batches and the augmentation depend on the seed and the
iteration number alone. A run resumed at iteration k continues exactly like an uninterrupted run.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, MapDataset
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from clsa_search.data.catalog import load_training_records
from clsa_search.data.crop_cache import load_crops
from clsa_search.data.crop_mapper import CropMapper, uses_crops
from clsa_search.data.dataset_mapper import PersonSearchDatasetMapper
from clsa_search.data.samplers import SameSizeBatches, group_batches
from clsa_search.data.shared_memory import (
    SHARED_MEMORY,
    check_shared_memory,
    estimate_shared_memory,
    measure_shared_memory,
    resize_shortest_edge,
)
from clsa_search.data.training_order import build_sampler, find_landscape
from clsa_search.errors import InputError

Mapper = Callable[[dict], dict]


class SeededDataset(Dataset[dict]):
    """Mapped records; seed and position in training alone decide the augmentation.

    Args:
        records: the training set.
        mapper: takes its randomness from NumPy's global generator, as Detectron2's augmentations.
        seed: seed of the augmentation.
    """

    def __init__(self, records: Sequence[dict], mapper: Mapper, *, seed: int) -> None:
        # serialized once, so that worker processes share the memory
        self.records = DatasetFromList(list(records), copy=False)
        self.mapper = mapper
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> dict:
        """Return the training example of a (position, record number) pair."""
        position, record = key
        outside = np.random.get_state()
        np.random.seed(np.random.SeedSequence((self.seed, position)).generate_state(4))
        try:
            return self.mapper(self.records[record])
        finally:
            np.random.set_state(outside)


class WorkerLoader(DataLoader):
    """DataLoader that raises an error of a loading process without the traceback of the process."""

    def __iter__(self) -> Iterator[list[dict]]:  # type: ignore[override]
        try:
            yield from super().__iter__()
        except InputError as error:
            raise InputError(str(error).rsplit("InputError: ", 1)[-1].strip()) from error
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise InputError(
                f"a loading process ended: {error}; expected more memory and more of "
                f"{SHARED_MEMORY}, or DATALOADER.NUM_WORKERS 0"
            ) from error


class TrainingLoader:
    """The training batches of this process, from iteration `start_iter` on.

    A trainer sets `start_iter` when it resumes; it is read when the first batch is requested.

    Args:
        dataset: the training set.
        sampler: endless record numbers of this process; each iteration over it starts anew.
        total_batch_size: images per iteration over all processes.
        num_workers: loading processes of this process; 0 loads in the process itself.
        group: whether all images of a batch have one orientation.
        pinned: whether a thread copies the batches to pinned memory, from which a GPU reads them.

    Raises:
        InputError: the batch does not divide into the processes.
    """

    def __init__(
        self,
        dataset: SeededDataset,
        sampler: Iterable[int],
        *,
        total_batch_size: int,
        num_workers: int,
        group: bool,
        pinned: bool = False,
    ) -> None:
        processes = comm.get_world_size()
        if total_batch_size < 1 or total_batch_size % processes:
            raise InputError(
                f"SOLVER.IMS_PER_BATCH is {total_batch_size}; expected a positive multiple of the "
                f"number of processes, {processes}"
            )
        self.dataset = dataset
        self.sampler = sampler
        self.batch_size = total_batch_size // processes
        self.num_workers = num_workers
        self.pinned = pinned
        self.landscape = find_landscape(dataset.records, group=group)
        self.start_iter = 0

    def __iter__(self) -> Iterator[list[dict]]:
        yield from WorkerLoader(
            self.dataset,
            batch_sampler=group_batches(  # type: ignore[arg-type]  # any iterable will do
                self.sampler,
                self.landscape,
                batch_size=self.batch_size,
                start_batch=self.start_iter,
            ),
            num_workers=self.num_workers,
            pin_memory=self.pinned,
            collate_fn=trivial_batch_collator,
            # a generator of its own, so that loading does not advance the generator of training
            generator=torch.Generator(),
        )


def build_train_loader(
    cfg: CfgNode, mapper: Mapper | None = None, sampler: Iterable[int] | None = None
) -> TrainingLoader:
    """Build the loader of DATASETS.TRAIN with SOLVER.IMS_PER_BATCH images per iteration.

    Args:
        cfg: config of the training.
        mapper: maps a record to a training example; PersonSearchDatasetMapper by default.
        sampler: endless record numbers of this process, such as Detectron2's
            RepeatFactorTrainingSampler with a seed; that of DATALOADER.SAMPLER_TRAIN by default.

    Raises:
        InputError: a training set is missing, or the batches do not fit into shared memory.
    """
    records = load_training_records(cfg.DATASETS.TRAIN)
    _check_memory(cfg, estimate_training_memory(cfg, records) // comm.get_world_size())
    seed = max(cfg.SEED, 0)
    if mapper is None:
        mapper, records = build_mapper(cfg, records, is_train=True)
    return TrainingLoader(
        SeededDataset(records, mapper, seed=seed),
        build_sampler(cfg, records, seed) if sampler is None else sampler,
        total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        group=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        pinned=cfg.MODEL.DEVICE.startswith("cuda"),
    )


def build_test_loader(
    cfg: CfgNode, records: Sequence[dict], mapper: Mapper | None = None
) -> DataLoader:
    """Build the loader of a test set: every image once over all processes, with its queries.

    Images are sorted by size; a batch has up to TEST.IMS_PER_BATCH images of one size.

    Args:
        cfg: config of the model.
        records: records of a dataset, at least one.
        mapper: maps a record to a model input; PersonSearchDatasetMapper by default.

    Raises:
        InputError: TEST.IMS_PER_BATCH is less than 1, or the batches do not fit into shared
            memory.
    """
    batch_size = cfg.TEST.IMS_PER_BATCH
    if batch_size < 1:
        raise InputError(f"TEST.IMS_PER_BATCH is {batch_size}; expected 1 or more")
    _check_memory(cfg, estimate_test_memory(cfg, records))
    if mapper is None:  # before the sorting: the crops of an image are cut together
        mapper, records = build_mapper(cfg, records, is_train=False)
    records = sorted(records, key=_size)
    sizes = [(0, 0) if uses_crops(cfg) else _size(record) for record in records]
    return WorkerLoader(
        MapDataset(DatasetFromList(records, copy=False), mapper),
        batch_sampler=SameSizeBatches(sizes, batch_size),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=trivial_batch_collator,
    )


def build_mapper(
    cfg: CfgNode, records: Sequence[dict], *, is_train: bool, gt_boxes: bool = False
) -> tuple[Mapper, list[dict]]:
    """Build the mapper of a config's model, and bring the records into its form.

    Args:
        cfg: config of the model.
        records: records of a dataset; of crops for a model of crops.
        is_train: True for training examples, False for test inputs.
        gt_boxes: whether test inputs hold the ground-truth boxes too; crops have no other box.

    Raises:
        InputError: an image of a crop is missing or unreadable, or a record is no crop.
    """
    if not uses_crops(cfg):
        return PersonSearchDatasetMapper(cfg, is_train=is_train, gt_boxes=gt_boxes), list(records)
    for record in records:
        if len(record["annotations"]) + len(record.get("queries", [])) != 1:
            raise InputError(
                f"{record['file_name']}: holds several people or none; expected a dataset of crops "
                'for MODEL.META_ARCHITECTURE PersonReID, such as "crops:" before its name'
            )
    mapper = CropMapper(cfg, is_train=is_train)
    mapper.crops = load_crops(records, mapper)
    return mapper, [record | {"row": row} for row, record in enumerate(records)]


def check_training_memory(
    cfg: CfgNode, records: Sequence[dict], test_sets: Sequence[Sequence[dict]]
) -> None:
    """Check that the loading of a whole training with its evaluations fits into shared memory.

    Args:
        cfg: config of the training.
        records: records of DATASETS.TRAIN.
        test_sets: records of each of DATASETS.TEST.

    Raises:
        InputError: there is too little shared memory on this machine.
    """
    processes = comm.get_local_size()
    training = estimate_training_memory(cfg, records) * processes // comm.get_world_size()
    test = max((estimate_test_memory(cfg, records) for records in test_sets), default=0)
    _check_memory(cfg, training + test * processes)


def estimate_training_memory(cfg: CfgNode, records: Sequence[dict]) -> int:
    """Return the bytes of shared memory for the batches of all processes in training."""
    return estimate_shared_memory(
        _input_sizes(cfg, records, max(cfg.INPUT.MIN_SIZE_TRAIN), cfg.INPUT.MAX_SIZE_TRAIN),
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def estimate_test_memory(cfg: CfgNode, records: Sequence[dict]) -> int:
    """Return the bytes of shared memory for the batches of one process in an evaluation."""
    return estimate_shared_memory(
        _input_sizes(cfg, records, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
        batch_size=cfg.TEST.IMS_PER_BATCH,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def _input_sizes(
    cfg: CfgNode, records: Sequence[dict], shortest: int, longest: int
) -> list[tuple[int, int]]:
    """Return the (height, width) of each input of the model."""
    if uses_crops(cfg):
        return [tuple(cfg.MODEL.REID.CROP_SIZE)] * len(records)
    return [resize_shortest_edge(_size(record), shortest, longest) for record in records]


def _check_memory(cfg: CfgNode, needed: int) -> None:
    check_shared_memory(needed, measure_shared_memory(), cfg.DATALOADER.NUM_WORKERS)


def _size(record: dict) -> tuple[int, int]:
    return record["height"], record["width"]
