"""Speed of training and extraction with several processes, relative to one."""

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


def count_devices(device: torch.device) -> int:
    """Return the largest number of processes: GPUs, or cores of the CPU."""
    return torch.cuda.device_count() if device.type == "cuda" else os.cpu_count() or 1


def measure_processes(
    cfg: CfgNode,
    counts: Sequence[int],
    *,
    batch: int,
    size: tuple[int, int],
    boxes: int,
    device: torch.device,
    repeat: int,
) -> Iterator[Measurement]:
    """Measure training steps and extraction by several processes, one thread each on a CPU.

    The limit is linear scaling from the first count.

    Args:
        cfg: config of model and solver; the weights are random.
        counts: numbers of processes, at most :func:`count_devices`.
        batch: images per process.
        size: (height, width) of an image.
        boxes: boxes per image.
        device: kind of device.
        repeat: number of timed calls.

    Raises:
        InputError: if there are more processes than devices.
    """
    _check_count(max(counts), device)
    first: dict[str, float] = {}
    for count in counts:
        work = partial(measure_share, cfg, batch, size, boxes, repeat)
        for name, seconds in run_processes(work, count, device.type).items():
            alone = first.setdefault(name, seconds * counts[0] / batch)
            yield Measurement(
                name=f"{name}, {count} processes of batch {batch}",
                unit="image",
                seconds=seconds / (count * batch),
                limit_seconds=alone / count,
                notes={"processes": count},
            )


def _check_count(count: int, device: torch.device) -> None:
    devices = count_devices(device)
    if count > devices:
        raise InputError(
            f"{count} processes on {devices} {'GPUs' if device.type == 'cuda' else 'cores'}; "
            "expected at most one process per device"
        )


def measure_share(
    cfg: CfgNode,
    batch: int,
    size: tuple[int, int],
    boxes: int,
    repeat: int,
    device: torch.device,
) -> dict[str, float]:
    """Return the seconds of a training step and of a batch's extraction in this process."""
    cfg = with_options(cfg, "MODEL.DEVICE", str(device))
    step = Step(cfg, device=device, batch=batch, size=size, boxes=boxes)
    model = build_random_model(cfg, device)
    prepare_for_inference(model, cfg)
    examples = generate_inputs(batch, size=size, boxes=boxes)

    @torch.no_grad()
    def extract() -> None:
        model(examples)
        comm.synchronize()  # the slowest process counts

    return {
        "training step": time_call(step, device, repeat),
        "extraction": time_call(extract, device, repeat),
    }


def run_processes(
    work: Callable[[torch.device], dict[str, float]], count: int, kind: str
) -> dict[str, float]:
    """Run a function in `count` processes, one device each, and return the result of the first."""
    with TemporaryDirectory() as folder:
        spawn(_run_process, (count, Path(folder), kind, work), nprocs=count)
        return torch.load(Path(folder) / "result")


def _run_process(rank: int, count: int, folder: Path, kind: str, work: Callable) -> None:
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    torch.set_num_threads(1)
    keep_freed_memory()
    backend = "nccl" if kind == "cuda" else "gloo"
    dist.init_process_group(backend, f"file://{folder}/store", rank=rank, world_size=count)
    result = work(device)
    if rank == 0:
        torch.save(result, folder / "result")
    # All together and before the interpreter's shutdown: there a thread of gloo may abort.
    comm.synchronize()
    dist.destroy_process_group()
