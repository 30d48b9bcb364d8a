"""How long a training step takes in each precision, and whether the loader keeps up with it."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from itertools import repeat as repeat_endlessly
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from detectron2.config import CfgNode
from detectron2.engine import create_ddp_model
from detectron2.utils.events import EventStorage

from benchmarks.speed.inputs import (
    CAMERA_SIZE,
    build_random_model,
    generate_inputs,
    propose_near_boxes,
    with_options,
    write_images,
)
from benchmarks.speed.measurement import Measurement, measure
from benchmarks.speed.timing import double_up_to, time_call
from clsa_search.data.build import TrainingLoader, build_train_loader
from clsa_search.data.image_io import read_image
from clsa_search.engine import AccumulatingTrainer, PersonSearchTrainer
from clsa_search.engine.memory import keep_freed_memory
from clsa_search.engine.precision import prepare_for_training, read_amp_dtype

IDENTITIES = 5532  # of CUHK-SYSU's training set
BRANCHES = {
    "crop": ("MODEL.REID.NAME", "CropBranch"),
    "shared": ("MODEL.REID.NAME", "SharedBranch"),
}
_PHOTOGRAPHS = 24  # files that are read over and over


class Step:
    """The trainer's step on one batch of random pictures, as often as it is called.

    The weights stay where they are: at random as they are, a step would lead them astray.
    """

    def __init__(
        self,
        cfg: CfgNode,
        *,
        device: torch.device,
        batch: int,
        size: tuple[int, int],
        people: int,
        identities: int = IDENTITIES,
    ) -> None:
        """
        Args:
            cfg: of model and solver; not modified.
            device: where to train.
            batch: images of this process.
            size: (height, width) of each.
            people: annotated in each; a trained detector's proposals come to them, so that the
                re-ID branch has as much to do as it has in a run.
            identities: P.

        Raises:
            InputError: the device cannot compute in SOLVER.AMP.DTYPE.
        """
        cfg = with_options(cfg, "MODEL.DEVICE", str(device), "SOLVER.BASE_LR", 0.0)
        amp_dtype = read_amp_dtype(cfg)
        model = build_random_model(cfg, device, identities=identities).train()
        prepare_for_training(model, amp_dtype)
        propose_near_boxes(model, cfg.MODEL.REID.PROPOSALS_PER_IMAGE)
        model.reid_criterion.register_forward_pre_hook(self._count_boxes)
        optimizer = PersonSearchTrainer.build_optimizer(cfg, model)
        examples = generate_inputs(batch, size=size, people=people, identities=identities)
        self.described = 0  # boxes, of the last step or its last part
        self._trainer = AccumulatingTrainer(
            create_ddp_model(model, broadcast_buffers=False, device_ids=None),
            _Batches(examples),
            optimizer,
            amp_dtype=amp_dtype,
            accumulation_steps=cfg.SOLVER.ACCUMULATION_STEPS,
        )

    def __call__(self) -> None:
        with EventStorage():
            self._trainer.run_step()

    def _count_boxes(self, criterion: torch.nn.Module, args: tuple) -> None:
        _, pids = args
        self.described = len(pids)


class _Batches:
    """The same batch again and again, as a loader gives them."""

    def __init__(self, batch: list[dict]) -> None:
        self.batch = batch
        self.batch_size = len(batch)

    def __iter__(self) -> Iterator[list[dict]]:
        return repeat_endlessly(self.batch)


def measure_training(
    cfg: CfgNode,
    *,
    branches: Sequence[str],
    dtypes: Sequence[str],
    batch: int,
    size: tuple[int, int],
    people: int,
    device: torch.device,
    repeat: int,
) -> Iterator[Measurement]:
    """Training steps, then the loader alone and what the fastest of the steps asks of it.

    Args:
        cfg: of model and solver.
        branches: of `BRANCHES`.
        dtypes: "float32", and names of halves.
        batch, size, people: see :class:`Step`.
        device: where to train.
        repeat: how often each is timed.

    Raises:
        InputError: the device cannot compute in one of the dtypes.
    """
    keep_freed_memory(device)  # as a run does
    steps: list[Measurement] = []
    for branch in branches:
        for dtype in dtypes:
            changed = with_options(cfg, *BRANCHES[branch], *_precision(dtype))
            step = Step(changed, device=device, batch=batch, size=size, people=people)
            figure = measure(
                step,
                name=f"training step, {branch} branch, {dtype}, batch {batch}",
                unit="picture",
                units=batch,
                device=device,
                repeat=repeat,
                dtype=dtype,
            )
            steps.append(figure)
            speedup = steps[0].seconds / figure.seconds
            boxes = step.described * cfg.SOLVER.ACCUMULATION_STEPS / batch
            notes = {"times the first": speedup, "boxes described": boxes}
            yield replace(figure, notes=notes)
    fastest = min(figure.seconds for figure in steps)
    yield from judge(list(measure_loader(cfg, batch=batch)), fastest)


def measure_loader(
    cfg: CfgNode,
    *,
    batch: int,
    workers: Sequence[int] | None = None,
    size: tuple[int, int] = CAMERA_SIZE,
) -> Iterator[Measurement]:
    """The training loader on JPEG files, without a model.

    The limit is what all cores decode of the same files, and nothing else.

    Args:
        cfg: of INPUT and DATALOADER.
        batch: images.
        workers: numbers of loading processes; by default from none to one for each core.
        size: (height, width) of the files.
    """
    cores = os.cpu_count() or 1
    with TemporaryDirectory() as folder:
        json_file = write_images(Path(folder), _PHOTOGRAPHS, size=size)
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
                unit="picture",
                seconds=_time_loader(build_train_loader(changed)),
                limit_seconds=decoding / cores,
                notes={"workers": count, "decoding alone, ms": 1000 * decoding},
            )


def judge(loaders: Sequence[Measurement], step: float) -> Iterator[Measurement]:
    """The loader's figures, each with how many times as quick as a step it is, and the last one
    with what that means.

    Args:
        loaders: of :func:`measure_loader`, fewest workers first.
        step: seconds of an image.
    """
    beside = [figure for figure in loaders if figure.notes["workers"]]  # others hold up the step
    enough = [figure.notes["workers"] for figure in beside if figure.seconds <= step]
    if enough:
        verdict = f"{enough[0]} or more loading processes keep up: the model limits training"
    else:
        needed = min(math.ceil(x.notes["workers"] * x.seconds / step) for x in beside)
        verdict = f"about {needed} loading processes would keep up: the loader limits training"
    for figure in loaders:
        notes = {**figure.notes, "times the fastest step": step / figure.seconds}
        last = {"so": verdict} if figure is loaders[-1] else {}
        yield replace(figure, notes=notes | last)


_CPU = torch.device("cpu")


def _time_loader(loader: TrainingLoader) -> float:
    """Seconds of an image, after those that workers have loaded ahead."""
    batches = iter(loader)
    ahead = 2 * loader.num_workers
    for _ in islice(batches, 1 + ahead):
        pass
    count = max(4, 2 * ahead)
    seconds = time_call(lambda: [next(batches) for _ in range(count)], _CPU)
    batches.close()
    return seconds / (count * loader.batch_size)


def _precision(dtype: str) -> tuple:
    if dtype == "float32":
        return "SOLVER.AMP.ENABLED", False
    return "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", dtype
