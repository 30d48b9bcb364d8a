"""Growth of the model's cost with boxes, image size and identities."""

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


def measure_boxes(
    cfg: CfgNode,
    counts: Sequence[int],
    *,
    size: tuple[int, int],
    device: torch.device,
    repeat: int,
    until: int | None = None,
) -> Iterator[Measurement]:
    """Measure optimized inference of one image by its number of embedded boxes.

    Args:
        cfg: config of the model.
        counts: numbers of boxes.
        size: (height, width) of the image.
        device: see :func:`measure`.
        repeat: see :func:`measure`.
        until: see :func:`measure_sizes`.
    """
    inference = _Inference(cfg, device, repeat)
    yield from measure_sizes(lambda n: inference.at(size, n), counts, of="boxes", until=until)


def measure_image_sizes(
    cfg: CfgNode,
    heights: Sequence[int],
    *,
    size: tuple[int, int],
    boxes: int,
    device: torch.device,
    repeat: int,
    until: int | None = None,
) -> Iterator[Measurement]:
    """Measure optimized inference of one image by its number of pixels.

    Args:
        cfg: config of the model.
        heights: image heights in pixels.
        size: (height, width) with the aspect ratio of all images.
        boxes: number of embedded boxes.
        device: see :func:`measure`.
        repeat: see :func:`measure`.
        until: image height of the extrapolation.
    """
    inference = _Inference(cfg, device, repeat)
    aspect = size[1] / size[0]
    pixels = [round(aspect * height**2) for height in heights]

    def at(area: int) -> Iterator[Measurement]:
        height = math.sqrt(area / aspect)
        return inference.at((round(height), round(height * aspect)), boxes)

    end = round(aspect * until**2) if until else None
    yield from measure_sizes(at, pixels, of="pixels", until=end)


def measure_identities(
    cfg: CfgNode,
    counts: Sequence[int],
    *,
    batch: int,
    size: tuple[int, int],
    boxes: int,
    device: torch.device,
    repeat: int,
    until: int | None = None,
) -> Iterator[Measurement]:
    """Measure a training step by the number of training identities.

    Args:
        cfg: config of model and solver.
        counts: numbers of identities.
        batch: see :class:`Step`.
        size: see :class:`Step`.
        boxes: see :class:`Step`.
        device: see :func:`measure`.
        repeat: see :func:`measure`.
        until: see :func:`measure_sizes`.
    """
    keep_freed_memory(device)

    def at(identities: int) -> Iterator[Measurement]:
        step = Step(cfg, device=device, batch=batch, size=size, boxes=boxes, identities=identities)
        yield measure(
            step,
            name=f"training step, {cfg.MODEL.REID.CLASSIFIER}, batch {batch}",
            unit="image",
            units=batch,
            device=device,
            repeat=repeat,
            dtype=cfg.SOLVER.AMP.DTYPE if cfg.SOLVER.AMP.ENABLED else "float32",
        )

    yield from measure_sizes(at, counts, of="identities", until=until)


class _Inference:
    """Optimized model on one image of any size and number of boxes."""

    def __init__(self, cfg: CfgNode, device: torch.device, repeat: int) -> None:
        keep_freed_memory(device)
        self.model = build_random_model(cfg, device)
        prepare_for_inference(self.model, with_options(cfg, "MODEL.DEVICE", str(device)))
        self.dtype = cfg.TEST.DTYPE
        self.repeat = repeat

    def at(self, size: tuple[int, int], boxes: int) -> Iterator[Measurement]:
        inputs = generate_inputs(1, size=size, boxes=boxes)
        yield measure(
            torch.no_grad()(lambda: self.model(inputs)),
            name=f"whole model, optimized, {self.dtype}, batch 1",
            unit="image",
            units=1,
            device=self.model.device,
            repeat=self.repeat,
            dtype=self.dtype,
        )
