"""Checks of predictions against a dataset."""

import os
from collections.abc import Sequence, Set
from typing import Any

import numpy as np

from clsa_search.errors import InputError
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.record_queries import image_key

BOX_TOLERANCE = 1.0
"""Pixels between a predicted box, clipped to its image, and the dataset's: rounding."""


def check_predictions(
    predictions: Predictions, records: Sequence[dict], source: str | os.PathLike = "predictions"
) -> None:
    """Check predictions against a dataset: all of it and nothing else.

    Boxes are compared inside their image, because published boxes may leave it.

    Args:
        predictions: well-formed predictions, as loaded.
        records: records of the dataset (`clsa_search.data`).
        source: path of the file or another name for the errors.

    Raises:
        InputError: an image or a query is missing or unknown, a query has another image or box, or
            the ground-truth boxes differ from the annotations.
    """
    queries = {
        query["query_id"]: (record, query["bbox"])
        for record in records
        for query in record.get("queries", [])
    }
    _compare(source, "image_ids", predictions.image_ids, {image_key(r) for r in records})
    _compare(source, "query_ids", predictions.queries.ids, queries.keys())
    given = predictions.queries
    columns = given.ids, given.image_ids, given.boxes
    for query_id, image_id, box in zip(*(column.tolist() for column in columns), strict=True):
        record, expected_box = queries[query_id]
        if image_id != image_key(record):
            raise InputError(
                f"{source}: query_image_ids: query {query_id} is on image {image_id!r}; "
                f"expected {image_key(record)!r}, as in the dataset"
            )
        if not _is_near(_clip(box, record), expected_box):
            raise InputError(
                f"{source}: query_boxes: query {query_id} is at {_round(box)}; "
                f"expected {_round(expected_box)}, as in the dataset"
            )
    if predictions.ground_truth is not None:
        _check_ground_truth(predictions, records, source)


def _check_ground_truth(
    predictions: Predictions, records: Sequence[dict], source: str | os.PathLike
) -> None:
    """Compare the ground-truth boxes with the annotations; other boxes are no upper bound."""
    assert predictions.ground_truth is not None
    by_id = {image_key(record): record for record in records}
    for row, image_id in enumerate(predictions.image_ids.tolist()):
        annotations = by_id[image_id]["annotations"]
        expected = np.array([one["bbox"] for one in annotations]).reshape(-1, 4)
        boxes = _clip(predictions.ground_truth.row(row).boxes, by_id[image_id])
        near = _is_near(boxes[:, None], expected[None])
        for message, rows, is_matched in (
            ("{} is no annotation", boxes, near.any(axis=1)),
            ("{} is missing", expected, near.any(axis=0)),
        ):
            if not is_matched.all():
                box = _round(rows[np.argmin(is_matched)])
                raise InputError(
                    f"{source}: gt_boxes: {message.format(box)} on image {image_id!r}; "
                    "expected the ground-truth boxes of the dataset, as --gt-boxes embeds them"
                )


def _clip(boxes: Any, record: dict) -> np.ndarray:
    """Clip boxes (..., 4) to the image of a record."""
    return np.clip(boxes, 0, [record["width"], record["height"]] * 2)


def _is_near(boxes: Any, others: Any) -> np.ndarray:
    """Compare boxes (..., 4) with others (..., 4), elementwise."""
    return (np.abs(np.asarray(boxes, dtype=np.float64) - others) <= BOX_TOLERANCE).all(axis=-1)


def _round(box: Any) -> list[float]:
    return np.asarray(box, dtype=np.float64).round(2).tolist()


def _compare(source: str | os.PathLike, field: str, names: np.ndarray, expected: Set) -> None:
    given = set(names.tolist())
    for fault, rest in (("missing", expected - given), ("unknown", given - expected)):
        if rest:
            raise InputError(
                f"{source}: {field}: {len(rest)} {fault}, such as {min(rest)!r}; "
                f"expected the dataset's {len(expected)}, all of them and no other"
            )
