"""Finding and describing people at the field's test size: the parts, and what tuning brings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.config import CfgNode

from benchmarks.speed.inputs import (
    FIELD_SIZE,
    build_random_model,
    generate_inputs,
    with_options,
)
from benchmarks.speed.measurement import Measurement, measure
from clsa_search.engine.memory import keep_freed_memory
from clsa_search.engine.precision import prepare_for_inference
from clsa_search.modeling import PersonSearchRCNN


def measure_inference(
    cfg: CfgNode,
    *,
    device: torch.device,
    repeat: int,
    size: tuple[int, int] = FIELD_SIZE,
    people: int = 8,
    batch_sizes: Sequence[int] = (1, 4),
    dtypes: Sequence[str] = ("float32",),
) -> Iterator[Measurement]:
    """The plain model, one picture at a time, then the tuned one in each type and batch size.

    Args:
        cfg: of the model; its weights are random. TEST.COMPILE counts.
        device: where to compute.
        repeat: how often each thing is timed.
        size: (height, width) of the pictures.
        people: of each picture, who are described.
        batch_sizes: of the tuned model.
        dtypes: values of TEST.DTYPE.

    Raises:
        InputError: see :func:`prepare_for_inference`.
    """
    cfg = with_options(cfg, "MODEL.DEVICE", str(device))
    inputs = generate_inputs(max(batch_sizes), size=size, people=people)
    plain: dict[str, float] = {}

    def measure_parts(
        model: PersonSearchRCNN, name: str, count: int, dtype: str
    ) -> Iterator[Measurement]:
        for part, call in _parts(model, inputs[:count]).items():
            figure = measure(
                call,
                name=f"{part}, {name}, batch {count}",
                unit="picture",
                units=count,
                device=device,
                repeat=repeat,
                dtype=dtype,
            )
            first = plain.setdefault(part, figure.seconds)
            yield replace(figure, notes={"times plain": first / figure.seconds})

    model = build_random_model(cfg, device)
    yield from measure_parts(model, "plain", 1, "float32")
    keep_freed_memory(device)
    tuned = "tuned, compiled" if cfg.TEST.COMPILE else "tuned"
    for dtype in dtypes:
        model = build_random_model(cfg, device)
        prepare_for_inference(model, with_options(cfg, "TEST.DTYPE", dtype))
        for count in batch_sizes:
            yield from measure_parts(model, f"{tuned}, {dtype}", count, dtype)


def _parts(model: PersonSearchRCNN, inputs: list[dict]) -> dict[str, Callable[[], Any]]:
    """The model's parts and the whole, on the same pictures and people."""
    with torch.no_grad():
        images = model.preprocess_image(inputs)
        features = model.extract_features(images)
    boxes = [x["query_boxes"].to(model.device) for x in inputs]

    @torch.no_grad()
    def detect() -> None:
        images = model.preprocess_image(inputs)
        features = model.extract_features(images)
        proposals, _ = model.proposal_generator(images, features)
        model.roi_heads(images, features, proposals)

    @torch.no_grad()
    def describe() -> None:
        model.reid_heads.concatenate(model.reid_heads(model.reid_branch(images, features, boxes)))

    return {
        "detector": detect,
        "re-ID branch": describe,
        "whole model": torch.no_grad()(lambda: model(inputs)),
    }
