"""How the model's cost grows: with people, with the size of pictures, with identities."""

import math
from collections.abc import Iterator, Sequence

import torch
from detectron2.config import CfgNode

from benchmarks.speed.growth import measure_sizes
from benchmarks.speed.inputs import build_random_model, generate_inputs, with_options
from benchmarks.speed.measurement import Measurement, measure
from benchmarks.speed.training import Step
from clsa_search.engine.memory import keep_freed_memory
from clsa_search.engine.precision import prepare_for_inference

PEOPLE = (1, 5, 20, 50, 100)
HEIGHTS = (300, 450, 600, 900)
IDENTITIES = (483, 5532, 20_000, 100_000)  # of PRW, of CUHK-SYSU, and beyond


def measure_people(
    cfg: CfgNode,
    counts: Sequence[int],
    *,
    size: tuple[int, int],
    device: torch.device,
    repeat: int,
    until: int | None = None,
) -> Iterator[Measurement]:
    """Inference, tuned, one picture of (height, width) at a time, by the people in it."""
    infer = _Inference(cfg, device, repeat)
    yield from measure_sizes(lambda n: infer.at(size, n), counts, of="people", until=until)


def measure_pictures(
    cfg: CfgNode,
    heights: Sequence[int],
    *,
    size: tuple[int, int],
    people: int,
    device: torch.device,
    repeat: int,
    until: int | None = None,
) -> Iterator[Measurement]:
    """The same by the pixels of a picture, whose sides are to each other as those of `size`.

    Args:
        cfg: of the model.
        heights, until: in pixels.
        size: (height, width).
        people: of each picture.
        device, repeat: see :func:`measure`.
    """
    infer = _Inference(cfg, device, repeat)
    shape = size[1] / size[0]
    pixels = [round(shape * height**2) for height in heights]

    def at(area: int) -> Iterator[Measurement]:
        height = math.sqrt(area / shape)
        return infer.at((round(height), round(height * shape)), people)

    end = until and round(shape * until**2)
    yield from measure_sizes(at, pixels, of="pixels", until=end)


def measure_identities(
    cfg: CfgNode,
    counts: Sequence[int],
    *,
    batch: int,
    size: tuple[int, int],
    people: int,
    device: torch.device,
    repeat: int,
    until: int | None = None,
) -> Iterator[Measurement]:
    """Training steps by the number of training identities; see :class:`Step`."""
    keep_freed_memory(device)

    def at(identities: int) -> Iterator[Measurement]:
        step = Step(
            cfg, device=device, batch=batch, size=size, people=people, identities=identities
        )
        yield measure(
            step,
            name=f"training step, {cfg.MODEL.REID.CLASSIFIER}, batch {batch}",
            unit="picture",
            units=batch,
            device=device,
            repeat=repeat,
            dtype=cfg.SOLVER.AMP.DTYPE if cfg.SOLVER.AMP.ENABLED else "float32",
        )

    yield from measure_sizes(at, counts, of="identities", until=until)


class _Inference:
    """One tuned model on one picture of any size, with any number of people."""

    def __init__(self, cfg: CfgNode, device: torch.device, repeat: int) -> None:
        keep_freed_memory(device)
        self.model = build_random_model(cfg, device)
        prepare_for_inference(self.model, with_options(cfg, "MODEL.DEVICE", str(device)))
        self.dtype = cfg.TEST.DTYPE
        self.repeat = repeat

    def at(self, size: tuple[int, int], people: int) -> Iterator[Measurement]:
        inputs = generate_inputs(1, size=size, people=people)
        yield measure(
            torch.no_grad()(lambda: self.model(inputs)),
            name=f"whole model, tuned, {self.dtype}, batch 1",
            unit="picture",
            units=1,
            device=self.model.device,
            repeat=self.repeat,
            dtype=self.dtype,
        )
