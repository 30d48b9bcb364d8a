"""Speed of detection and embedding: parts of the model, plain and optimized."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode

from benchmarks.speed.inputs import build_random_model, generate_inputs, with_options
from benchmarks.speed.measurement import Measurement, measure
from benchmarks.speed.settings import FIELD_SIZE
from clsa_search.engine.memory import keep_freed_memory
from clsa_search.engine.precision import prepare_for_inference
from clsa_search.modeling import PersonSearchRCNN


def measure_inference(
    cfg: CfgNode,
    *,
    device: torch.device,
    repeat: int,
    size: tuple[int, int] = FIELD_SIZE,
    boxes: int = 8,
    batch_sizes: Sequence[int] = (1, 4),
    dtypes: Sequence[str] = ("float32",),
) -> Iterator[Measurement]:
    """Measure the plain model at batch size 1, then the optimized one per dtype and batch size.

    Args:
        cfg: config of the model, including TEST.COMPILE; its weights are random.
        device: device of the model.
        repeat: number of timed calls.
        size: (height, width) of an image.
        boxes: number of embedded boxes per image.
        batch_sizes: batch sizes of the optimized model.
        dtypes: values of TEST.DTYPE.

    Raises:
        InputError: see :func:`prepare_for_inference`.
    """
    cfg = with_options(cfg, "MODEL.DEVICE", str(device))
    inputs = generate_inputs(max(batch_sizes), size=size, boxes=boxes)
    plain: dict[str, float] = {}
    measure_parts = partial(_measure_parts, plain, device=device, repeat=repeat)
    model = build_random_model(cfg, device)
    yield from measure_parts(model, inputs[:1], "plain", dtype="float32")
    keep_freed_memory(device)
    optimized = "optimized, compiled" if cfg.TEST.COMPILE else "optimized"
    for dtype in dtypes:
        model = build_random_model(cfg, device)
        prepare_for_inference(model, with_options(cfg, "TEST.DTYPE", dtype))
        for count in batch_sizes:
            yield from measure_parts(model, inputs[:count], f"{optimized}, {dtype}", dtype=dtype)


def _measure_parts(
    plain: dict[str, float],
    model: PersonSearchRCNN,
    inputs: list[dict],
    name: str,
    *,
    dtype: str,
    device: torch.device,
    repeat: int,
) -> Iterator[Measurement]:
    """Measure the parts; `plain` keeps the first seconds of each part, the base of the speedup."""
    for part, call in _parts(model, inputs).items():
        measurement = measure(
            call,
            name=f"{part}, {name}, batch {len(inputs)}",
            unit="image",
            units=len(inputs),
            device=device,
            repeat=repeat,
            dtype=dtype,
        )
        reference = plain.setdefault(part, measurement.seconds)
        yield replace(measurement, notes={"speedup": reference / measurement.seconds})


def _parts(model: PersonSearchRCNN, inputs: list[dict]) -> dict[str, Callable[[], Any]]:
    """Return calls of the parts and of the whole model, on the same images and boxes."""
    with torch.no_grad():
        images = model.preprocess_image(inputs)
        features = model.extract_features(images)
    boxes = [x["query_boxes"].to(model.device) for x in inputs]

    @torch.no_grad()
    def detect() -> None:
        model.detect(model.preprocess_image(inputs))

    @torch.no_grad()
    def embed() -> None:
        model.embed(images, features, boxes)

    return {
        "detector": detect,
        "re-ID branch": embed,
        "whole model": torch.no_grad()(lambda: model(inputs)),
    }
