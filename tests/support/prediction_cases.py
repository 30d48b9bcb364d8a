"""Predictions of three images, with and without ground-truth boxes, and damaged files of them."""

import json
from dataclasses import asdict, replace

import numpy as np

from tests.support.evaluation_cases import (
    make_detections,
    make_image,
    make_record,
)

BOX, OTHER = (0, 0, 40, 80), (10, 20, 30, 60)
IMAGES = {
    "b": make_image([(BOX, 0.9, (1, 0)), (OTHER, 0.4, (0, 1))], [(1, BOX, (0.6, 0.8))]),
    "a": make_image([(OTHER, 0.7, (0.8, 0.6))], [(2, BOX, (1, 0)), (0, OTHER, (0, 1))]),
    "c": make_image(),
}
RECORDS = [
    make_record("b", queries=[(1, BOX, 0)]),
    make_record("a", queries=[(2, BOX, 1), (0, OTHER, 2)]),
    make_record("c"),
]
GROUND_TRUTH = {"a": [OTHER, BOX], "b": [BOX], "c": []}


def with_ground_truth(images, boxes=GROUND_TRUTH):
    """Add ground-truth boxes to the images, all with the same embedding."""
    return {
        name: replace(
            image, ground_truth=make_detections([(box, 1, (1, 0)) for box in boxes[name]])
        )
        for name, image in images.items()
    }


def to_arrays(predictions):
    """Return {field of the file: array}, without meta and version."""
    detections, queries = predictions.detections, predictions.queries
    arrays = {
        "image_ids": predictions.image_ids,
        "offsets": detections.offsets,
        **vars(detections.values),
        **{f"query_{name}": array for name, array in vars(queries).items()},
    }
    if predictions.ground_truth is not None:
        truth = predictions.ground_truth
        arrays |= {"gt_offsets": truth.offsets, "gt_boxes": truth.values.boxes}
        arrays["gt_embeddings"] = truth.values.embeddings
    return arrays


def assert_equal(one, other):
    np.testing.assert_equal(asdict(one), asdict(other))


def write(path, predictions, **changes):
    """Write a file as another tool might; None leaves a field out."""
    entries = to_arrays(predictions)
    entries |= {"version": 2, "meta": json.dumps(predictions.meta)} | changes
    np.savez(path, **{name: value for name, value in entries.items() if value is not None})
