"""What several processes train and extract together, beside as many times what one does."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch.multiprocessing import spawn

from benchmarks.speed.inputs import build_random_model, generate_inputs, with_options
from benchmarks.speed.measurement import Measurement
from benchmarks.speed.timing import time_call
from benchmarks.speed.training import Step
from clsa_search.engine.memory import keep_freed_memory
from clsa_search.engine.precision import prepare_for_inference
from clsa_search.errors import InputError


def count_places(device: torch.device) -> int:
    """How many processes have a device each: GPUs, or the cores of a CPU."""
    return torch.cuda.device_count() if device.type == "cuda" else os.cpu_count() or 1


def measure_processes(
    cfg: CfgNode,
    counts: Sequence[int],
    *,
    batch: int,
    size: tuple[int, int],
    people: int,
    device: torch.device,
    repeat: int,
) -> Iterator[Measurement]:
    """Training steps and extraction by more and more processes, one thread each on a CPU.

    The limit of each is the first number's speed, times how many more there are.

    Args:
        cfg: of model and solver; the weights are random.
        counts: of processes, at most :func:`count_places`.
        batch: images of each process.
        size: (height, width) of each.
        people: of each.
        device: of what kind.
        repeat: how often each is timed.

    Raises:
        InputError: there are more processes than places.
    """
    places = count_places(device)
    if max(counts) > places:
        raise InputError(
            f"{max(counts)} processes on {places} {'GPUs' if device.type == 'cuda' else 'cores'}; "
            "expected at most one on each"
        )
    first: dict[str, float] = {}
    for count in counts:
        measured = partial(_measure_share, cfg, batch, size, people, repeat)
        for name, seconds in _run_together(measured, count, device.type).items():
            alone = first.setdefault(name, seconds * counts[0] / batch)
            yield Measurement(
                name=f"{name}, {count} processes of batch {batch}",
                unit="picture",
                seconds=seconds / (count * batch),
                limit_seconds=alone / count,
                notes={"processes": count},
            )


def _measure_share(
    cfg: CfgNode,
    batch: int,
    size: tuple[int, int],
    people: int,
    repeat: int,
    device: torch.device,
) -> dict[str, float]:
    """Seconds of a step and of a batch's extraction, in each of the processes that have met."""
    cfg = with_options(cfg, "MODEL.DEVICE", str(device))
    step = Step(cfg, device=device, batch=batch, size=size, people=people)
    model = build_random_model(cfg, device)
    prepare_for_inference(model, cfg)
    examples = generate_inputs(batch, size=size, people=people)

    @torch.no_grad()
    def extract() -> None:
        model(examples)
        comm.synchronize()  # the slowest counts

    return {
        "training step": time_call(step, device, repeat),
        "extraction": time_call(extract, device, repeat),
    }


def _run_together(
    measured: Callable[[torch.device], dict[str, float]], count: int, kind: str
) -> dict[str, float]:
    """What the first of count processes has measured, each on a device of a kind."""
    with TemporaryDirectory() as folder:
        spawn(_join, (count, Path(folder), kind, measured), nprocs=count)
        return torch.load(Path(folder) / "measured")


def _join(rank: int, count: int, folder: Path, kind: str, measured: Callable) -> None:
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    torch.set_num_threads(1)
    keep_freed_memory()
    backend = "nccl" if kind == "cuda" else "gloo"
    dist.init_process_group(backend, f"file://{folder}/meet", rank=rank, world_size=count)
    result = measured(device)
    if rank == 0:
        torch.save(result, folder / "measured")
    # together, and before the interpreter's shutdown, in which a thread of gloo may abort
    comm.synchronize()
    dist.destroy_process_group()
