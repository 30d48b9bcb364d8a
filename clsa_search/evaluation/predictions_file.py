"""Predictions files: one `.npz` per dataset and model, version 2.

Shape letters: N images, M detections, Q queries, G ground-truth boxes, D embedding width.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clsa_search.argument_checks import check_path
from clsa_search.atomic_io import replace_file
from clsa_search.errors import InputError
from clsa_search.evaluation.predictions import Predictions
from clsa_search.json_files import parse_json
from clsa_search.npz_files import Arrays, read_arrays
from clsa_search.structures import UNIT_TOLERANCE, ImageDetections, Queries, Ragged

PREDICTIONS_FILE = "predictions.npz"
"""File name in the output folder of an evaluation."""

VERSION = 2

# field -> (shape, dtype); a letter takes its size from its first field
_LAYOUT: dict[str, tuple[tuple[str, ...], Any]] = {
    "image_ids": (("N",), np.str_),
    "scores": (("M",), np.float32),
    "query_ids": (("Q",), np.int64),
    "embeddings": (("M", "D"), np.float32),
    "offsets": (("N+1",), np.int64),
    "boxes": (("M", "XYXY"), np.float32),
    "query_embeddings": (("Q", "D"), np.float32),
    "query_boxes": (("Q", "XYXY"), np.float32),
    "query_image_ids": (("Q",), np.str_),
}
# all or none of them
_GROUND_TRUTH: dict[str, tuple[tuple[str, ...], Any]] = {
    "gt_offsets": (("N+1",), np.int64),
    "gt_boxes": (("G", "XYXY"), np.float32),
    "gt_embeddings": (("G", "D"), np.float32),
}


def save_predictions(predictions: Predictions, path: str | os.PathLike) -> None:
    """Write a predictions file atomically.

    Raises:
        InputError: the predictions are malformed (see `load_predictions`).
    """
    path = Path(path)
    arrays = _to_arrays(predictions)
    _validate(arrays, path)
    meta = json.dumps(predictions.meta)
    with replace_file(path) as file:
        # NumPy's stub takes keyword arguments for the option of the same call
        np.savez(file, version=VERSION, **arrays, meta=meta)  # type: ignore[arg-type]


def load_predictions(path: str | os.PathLike) -> Predictions:
    """Read and check a predictions file.

    Raises:
        InputError: the file is missing or not a predictions file, has another version or lacks a
            field; or a field has a wrong shape or type, non-finite values, rows without unit
            length, inverted boxes, wrong offsets, or repeated ids.
    """
    path = Path(check_path("path", path))
    entries = read_arrays(path)
    version = entries.get("version")
    if version is not None and (version.shape or version != VERSION):
        raise _fault(path, "version", f"is {version.tolist()!r}", f"{VERSION}")
    has_ground_truth = any(name in entries for name in _GROUND_TRUTH)
    layout = _LAYOUT | (_GROUND_TRUTH if has_ground_truth else {})
    for name in ("version", *layout, "meta"):
        if name not in entries:
            raise _fault(path, name, "is missing", "an array")
    arrays = {name: _cast(path, name, entries[name], dtype) for name, (_, dtype) in layout.items()}
    meta = _parse_meta(path, entries["meta"])
    _validate(arrays, path)
    return _from_arrays(arrays, meta)


def _to_arrays(predictions: Predictions) -> Arrays:
    detections, queries = predictions.detections, predictions.queries
    arrays = {
        "image_ids": predictions.image_ids,
        "offsets": detections.offsets,
        "boxes": detections.values.boxes,
        "scores": detections.values.scores,
        "embeddings": detections.values.embeddings,
        "query_ids": queries.ids,
        "query_embeddings": queries.embeddings,
        "query_boxes": queries.boxes,
        "query_image_ids": queries.image_ids,
    }
    if (truth := predictions.ground_truth) is not None:
        arrays["gt_offsets"] = truth.offsets
        arrays["gt_boxes"] = truth.values.boxes
        arrays["gt_embeddings"] = truth.values.embeddings
    return arrays


def _from_arrays(arrays: Arrays, meta: dict[str, Any]) -> Predictions:
    ground_truth = None
    if "gt_offsets" in arrays:
        scores = np.ones(len(arrays["gt_boxes"]), dtype=np.float32)
        ground_truth = Ragged(
            ImageDetections(arrays["gt_boxes"], scores, arrays["gt_embeddings"]),
            arrays["gt_offsets"],
        )
    return Predictions(
        image_ids=arrays["image_ids"],
        detections=Ragged(
            ImageDetections(arrays["boxes"], arrays["scores"], arrays["embeddings"]),
            arrays["offsets"],
        ),
        queries=Queries(
            ids=arrays["query_ids"],
            boxes=arrays["query_boxes"],
            embeddings=arrays["query_embeddings"],
            image_ids=arrays["query_image_ids"],
        ),
        meta=meta,
        ground_truth=ground_truth,
    )


def _parse_meta(path: Path, entry: np.ndarray) -> dict[str, Any]:
    try:
        meta = parse_json(str(entry), path)
    except InputError:
        meta = None
    if not isinstance(meta, dict):
        raise _fault(path, "meta", f"is {str(entry)[:80]!r}", "a JSON object")
    return meta


def _cast(path: Path, name: str, array: np.ndarray, wanted: Any) -> np.ndarray:
    """Convert to the layout's dtype from any dtype of its kind, floats from integers too."""
    dtype = np.dtype(wanted)
    if array.dtype.kind not in {"U": "U", "i": "iu", "f": "fiu"}[dtype.kind]:
        raise _fault(path, name, f"has dtype {array.dtype}", dtype.name)
    return array.astype(dtype, copy=False)


def _validate(arrays: Arrays, path: Path) -> None:
    _validate_shapes(arrays, path)
    _validate_rows(arrays, path)
    for name, values in (("offsets", "scores"), ("gt_offsets", "gt_boxes")):
        if name in arrays:
            offsets, count = arrays[name], len(arrays[values])
            if offsets[0] != 0 or offsets[-1] != count or (np.diff(offsets) < 0).any():
                expected = f"ascending numbers from 0 to {count}, the length of {values!r}"
                raise _fault(path, name, f"is {_shorten(offsets)}", expected)


def _validate_shapes(arrays: Arrays, path: Path) -> None:
    sizes = {"XYXY": 4, "N+1": arrays["image_ids"].size + 1}
    for name, (letters, _) in (_LAYOUT | _GROUND_TRUTH).items():
        if name not in arrays:
            continue
        shape = arrays[name].shape
        wanted = [sizes.get(letter) for letter in letters]
        fits = [want in (None, size) for want, size in zip(wanted, shape, strict=False)]
        if len(shape) != len(letters) or not all(fits):
            pairs = zip(letters, wanted, strict=True)
            expected = ", ".join(
                f"{letter} = {'any' if want is None else want}" for letter, want in pairs
            )
            raise _fault(path, name, f"has shape {shape}", f"({expected})")
        sizes.update(zip(letters, shape, strict=True))


def _validate_rows(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    for names, expected, is_wrong in _ROW_CHECKS:
        for name in names:
            if name not in arrays:
                continue
            array = arrays[name]
            rows = np.flatnonzero(is_wrong(array))
            if len(rows):
                value = f"is {_shorten(array[rows[0]])} in row {rows[0]}"
                raise _fault(path, name, value, expected)


def _is_not_finite(array: np.ndarray) -> np.ndarray:
    return ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))


def _is_inverted(boxes: np.ndarray) -> np.ndarray:
    return np.any(boxes[:, 2:] < boxes[:, :2], axis=1)


def _is_not_unit(rows: np.ndarray) -> np.ndarray:
    return np.abs(np.sqrt(np.einsum("md,md->m", rows, rows)) - 1) > UNIT_TOLERANCE


def _is_repeated(values: np.ndarray) -> np.ndarray:
    repeated = np.ones(len(values), dtype=bool)
    repeated[np.unique(values, return_index=True)[1]] = False
    return repeated


_BOXES = ("boxes", "query_boxes", "gt_boxes")
_EMBEDDINGS = ("embeddings", "query_embeddings", "gt_embeddings")

# fields, expected rows, test for wrong rows
_ROW_CHECKS = (
    (("image_ids", "query_ids"), "a unique id", _is_repeated),
    (("scores", *_BOXES, *_EMBEDDINGS), "finite numbers", _is_not_finite),
    (_BOXES, "x0 <= x1 and y0 <= y1", _is_inverted),
    (_EMBEDDINGS, "a row of unit length", _is_not_unit),
)


def _fault(path: Path, field: str, value: str, expected: str) -> InputError:
    return InputError(f"{path}: '{field}' {value}; expected {expected}")


def _shorten(value: np.ndarray) -> str:
    return np.array2string(np.asarray(value), threshold=6, edgeitems=3)
