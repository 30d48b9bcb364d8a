"""Speed of a training step per branch and precision, and of the loader beside it."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from itertools import repeat as repeat_forever
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from detectron2.config import CfgNode
from detectron2.engine import create_ddp_model
from detectron2.utils.events import EventStorage

from benchmarks.speed.inputs import (
    build_random_model,
    generate_inputs,
    propose_near_boxes,
    with_options,
    write_images,
)
from benchmarks.speed.measurement import Measurement, measure
from benchmarks.speed.settings import BRANCHES, CAMERA_SIZE
from benchmarks.speed.timing import double_up_to, time_call
from clsa_search.data.build import TrainingLoader, build_train_loader
from clsa_search.data.image_io import read_image
from clsa_search.engine import AccumulatingTrainer, PersonSearchTrainer
from clsa_search.engine.memory import keep_freed_memory
from clsa_search.engine.precision import prepare_for_training, read_amp_dtype

IDENTITIES = 5532  # of the training set of CUHK-SYSU
_FILES = 24  # image files, read repeatedly
_CPU = torch.device("cpu")


class Step:
    """Callable step of the trainer on one random batch, at learning rate 0.

    Args:
        cfg: config of model and solver.
        device: device of the model.
        batch: images of this process.
        size: (height, width) of an image.
        boxes: ground-truth boxes per image. Proposals near them give the re-ID branch as much work
            as those of a trained detector.
        identities: number of identities P.

    Raises:
        InputError: if the device does not support SOLVER.AMP.DTYPE.
    """

    def __init__(
        self,
        cfg: CfgNode,
        *,
        device: torch.device,
        batch: int,
        size: tuple[int, int],
        boxes: int,
        identities: int = IDENTITIES,
    ) -> None:
        cfg = with_options(cfg, "MODEL.DEVICE", str(device), "SOLVER.BASE_LR", 0.0)
        amp_dtype = read_amp_dtype(cfg)
        self.model = build_random_model(cfg, device, identities=identities).train()
        prepare_for_training(self.model, cfg)
        propose_near_boxes(self.model, cfg.MODEL.REID.PROPOSALS_PER_IMAGE)
        self.model.reid_criterion.register_forward_pre_hook(self._count_boxes)
        optimizer = PersonSearchTrainer.build_optimizer(cfg, self.model)
        examples = generate_inputs(batch, size=size, boxes=boxes, identities=identities)
        self.embedded = 0  # boxes of the last forward pass
        self._trainer = AccumulatingTrainer(
            create_ddp_model(self.model, broadcast_buffers=False, device_ids=None),
            _RepeatedBatch(examples),  # type: ignore[arg-type]  # has all that the trainer uses
            optimizer,
            amp_dtype=amp_dtype,
            accumulation_steps=cfg.SOLVER.ACCUMULATION_STEPS,
        )

    def __call__(self) -> None:
        """Run one step."""
        with EventStorage():
            self._trainer.run_step()

    def _count_boxes(self, criterion: torch.nn.Module, args: tuple) -> None:
        _, pids = args
        self.embedded = len(pids)


class _RepeatedBatch:
    """Loader of the same batch, endlessly."""

    def __init__(self, batch: list[dict]) -> None:
        self.batch = batch
        self.batch_size = len(batch)

    def __iter__(self) -> Iterator[list[dict]]:
        return repeat_forever(self.batch)


def measure_training(
    cfg: CfgNode,
    *,
    branches: Sequence[str],
    dtypes: Sequence[str],
    batch: int,
    size: tuple[int, int],
    boxes: int,
    device: torch.device,
    repeat: int,
) -> Iterator[Measurement]:
    """Measure training steps, then the loader alone beside the fastest step.

    Args:
        cfg: config of model and solver.
        branches: keys of `BRANCHES`.
        dtypes: "float32", or names of half types for mixed precision.
        batch: see :class:`Step`.
        size: see :class:`Step`.
        boxes: see :class:`Step`.
        device: device of the model.
        repeat: number of timed calls.

    Raises:
        InputError: if the device does not support one of the dtypes.
    """
    keep_freed_memory(device)
    measure_step = partial(measure, unit="image", units=batch, device=device, repeat=repeat)
    steps: list[Measurement] = []
    kind = "compiled, " if cfg.SOLVER.COMPILE else ""
    for branch in branches:
        for dtype in dtypes:
            changed = with_options(cfg, "MODEL.REID.NAME", BRANCHES[branch], *_precision(dtype))
            step = Step(changed, device=device, batch=batch, size=size, boxes=boxes)
            name = f"training step, {branch} branch, {kind}{dtype}, batch {batch}"
            measurement = measure_step(step, name=name, dtype=dtype)
            steps.append(measurement)
            embedded = step.embedded * cfg.SOLVER.ACCUMULATION_STEPS / batch
            notes = {"speedup": steps[0].seconds / measurement.seconds, "embedded boxes": embedded}
            yield replace(measurement, notes=notes)
    fastest = min(measurement.seconds for measurement in steps)
    yield from compare_loaders(list(measure_loader(cfg, batch=batch)), fastest)


def measure_loader(
    cfg: CfgNode,
    *,
    batch: int,
    workers: Sequence[int] | None = None,
    size: tuple[int, int] = CAMERA_SIZE,
) -> Iterator[Measurement]:
    """Measure the training loader on JPEG files without a model.

    The limit is decoding of the same files on all cores.

    Args:
        cfg: config with INPUT and DATALOADER.
        batch: number of images per batch.
        workers: numbers of loading processes; default from none to one per core.
        size: (height, width) of the files.
    """
    cores = os.cpu_count() or 1
    with TemporaryDirectory() as folder:
        json_file = write_images(Path(folder), _FILES, size=size)
        files = sorted(Path(folder).glob("*.jpg"))
        decoding = time_call(lambda: [read_image(path) for path in files], _CPU, 1) / len(files)
        for count in [0, *double_up_to(cores)] if workers is None else workers:
            changed = with_options(
                cfg,
                *("DATASETS.TRAIN", (str(json_file),), "SOLVER.IMS_PER_BATCH", batch),
                *("DATALOADER.NUM_WORKERS", count),
            )
            yield Measurement(
                name=f"loader alone, {count} workers",
                unit="image",
                seconds=_time_loader(build_train_loader(changed)),
                limit_seconds=decoding / cores,
                notes={"workers": count, "decoding alone, ms": 1000 * decoding},
            )


def compare_loaders(loaders: Sequence[Measurement], step: float) -> Iterator[Measurement]:
    """Add to each loader its speed relative to a training step, and to the last a verdict.

    Args:
        loaders: measurements of :func:`measure_loader`, fewest workers first.
        step: seconds of a training step per image.
    """
    # Loading in the process itself delays the step: only worker processes count.
    timed = [(int(m.notes["workers"]), m.seconds) for m in loaders if m.notes["workers"]]
    enough = [workers for workers, seconds in timed if seconds <= step]
    if enough:
        verdict = f"{enough[0]} or more workers keep up: the model limits training"
    else:
        needed = min(math.ceil(workers * seconds / step) for workers, seconds in timed)
        verdict = f"about {needed} workers would keep up: the loader limits training"
    for measurement in loaders:
        notes = {**measurement.notes, "speed / fastest step": step / measurement.seconds}
        if measurement is loaders[-1]:
            notes["verdict"] = verdict
        yield replace(measurement, notes=notes)


def _time_loader(loader: TrainingLoader) -> float:
    """Return seconds per image after the prefetched batches."""
    batches = iter(loader)
    prefetched = 2 * loader.num_workers
    for _ in islice(batches, 1 + prefetched):
        pass
    count = max(4, 2 * prefetched)
    seconds = time_call(lambda: list(islice(batches, count)), _CPU)
    return seconds / (count * loader.batch_size)


def _precision(dtype: str) -> tuple:
    if dtype == "float32":
        return "SOLVER.AMP.ENABLED", False
    return "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", dtype
