"""The predictions file: one `.npz` with the fields of `Predictions` and a version.

Shape letters: N images, M detections, Q queries, D width of a embedding.
"""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from clsa_search.atomic_io import replace_file
from clsa_search.errors import InputError
from clsa_search.evaluation.predictions import Predictions

VERSION = 1
UNIT_TOLERANCE = 1e-2  # of a row's norm; embeddings normalized in half precision pass

# field -> (shape, dtype); those that come first give the letters their sizes
_LAYOUT = {
    "image_ids": (("N",), np.str_),
    "scores": (("M",), np.float32),
    "query_ids": (("Q",), np.int64),
    "features": (("M", "D"), np.float32),
    "offsets": (("N+1",), np.int64),
    "boxes": (("M", "XYXY"), np.float32),
    "query_embeddings": (("Q", "D"), np.float32),
    "query_boxes": (("Q", "XYXY"), np.float32),
    "query_image_ids": (("Q",), np.str_),
}


def save_predictions(predictions: Predictions, path: str | os.PathLike) -> None:
    """Write the file, whole or not at all.

    Raises:
        InputError: the predictions are malformed (see `load_predictions`).
    """
    path = Path(path)
    _validate(predictions, path)
    arrays = {name: getattr(predictions, name) for name in _LAYOUT}
    with replace_file(path) as file:
        np.savez(file, version=VERSION, **arrays, meta=json.dumps(predictions.meta))


def load_predictions(path: str | os.PathLike) -> Predictions:
    """Read and check a file.

    Raises:
        InputError: the file is missing, is no predictions file, has another version or lacks a
            field; or a field has a wrong shape or type, NaN or infinity, rows that are not of unit
            length, boxes inside out, offsets that do not fit, or an id twice.
    """
    path = Path(path)
    entries = _read_entries(path)
    for name in ("version", *_LAYOUT, "meta"):
        if name not in entries:
            raise _fault(path, name, "is missing", "an array")
    version = entries["version"]
    if version.shape or version != VERSION:
        raise _fault(path, "version", f"is {version.tolist()!r}", f"{VERSION}")
    predictions = Predictions(
        **{name: _cast(path, name, entries[name]) for name in _LAYOUT},
        meta=_parse_meta(path, entries["meta"]),
    )
    _validate(predictions, path)
    return predictions


def _read_entries(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return dict(archive)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a predictions file; expected an .npz archive") from error


def _parse_meta(path: Path, entry: np.ndarray) -> dict[str, Any]:
    try:
        meta = json.loads(str(entry))
    except ValueError:
        meta = None
    if not isinstance(meta, dict):
        raise _fault(path, "meta", f"is {str(entry)[:80]!r}", "a JSON object")
    return meta


def _cast(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """To the layout's dtype, from any of its kind (floats from integers too)."""
    dtype = np.dtype(_LAYOUT[name][1])
    if array.dtype.kind not in {"U": "U", "i": "iu", "f": "fiu"}[dtype.kind]:
        raise _fault(path, name, f"has dtype {array.dtype}", dtype.name)
    return array.astype(dtype, copy=False)


def _validate(predictions: Predictions, path: Path) -> None:
    _validate_shapes(predictions, path)
    _validate_rows(predictions, path)
    offsets, count = predictions.offsets, len(predictions.scores)
    if offsets[0] != 0 or offsets[-1] != count or (np.diff(offsets) < 0).any():
        expected = f"a rise from 0 to {count}, the number of detections"
        raise _fault(path, "offsets", f"is {_brief(offsets)}", expected)


def _validate_shapes(predictions: Predictions, path: Path) -> None:
    sizes = {"XYXY": 4, "N+1": predictions.image_ids.size + 1}
    for name, (letters, _) in _LAYOUT.items():
        shape = getattr(predictions, name).shape
        wanted = [sizes.get(letter, "any") for letter in letters]
        fits = [want in ("any", size) for want, size in zip(wanted, shape, strict=False)]
        if len(shape) != len(letters) or not all(fits):
            pairs = zip(letters, wanted, strict=True)
            expected = ", ".join(f"{letter} = {want}" for letter, want in pairs)
            raise _fault(path, name, f"has shape {shape}", f"({expected})")
        sizes.update(zip(letters, shape, strict=True))


def _validate_rows(predictions: Predictions, path: Path) -> None:
    for names, expected, is_wrong in _ROW_CHECKS:
        for name in names:
            array = getattr(predictions, name)
            rows = np.flatnonzero(is_wrong(array))
            if len(rows):
                value = f"is {_brief(array[rows[0]])} in row {rows[0]}"
                raise _fault(path, name, value, expected)


def _is_not_finite(array: np.ndarray) -> np.ndarray:
    return ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))


def _is_inside_out(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] < boxes[:, :2]).any(axis=1)


def _is_not_unit(rows: np.ndarray) -> np.ndarray:
    return np.abs(np.sqrt(np.einsum("md,md->m", rows, rows)) - 1) > UNIT_TOLERANCE


def _is_repeated(values: np.ndarray) -> np.ndarray:
    repeated = np.ones(len(values), dtype=bool)
    repeated[np.unique(values, return_index=True)[1]] = False
    return repeated


# fields, what their rows should be, which rows are not
_ROW_CHECKS = (
    (("image_ids", "query_ids"), "an id that no other row has", _is_repeated),
    (
        ("boxes", "scores", "features", "query_boxes", "query_embeddings"),
        "finite numbers",
        _is_not_finite,
    ),
    (("boxes", "query_boxes"), "x0 <= x1 and y0 <= y1", _is_inside_out),
    (("features", "query_embeddings"), "a row of unit length", _is_not_unit),
)


def _fault(path: Path, field: str, value: str, expected: str) -> InputError:
    return InputError(f"{path}: '{field}' {value}; expected {expected}")


def _brief(value: np.ndarray) -> str:
    return np.array2string(np.asarray(value), threshold=6, edgeitems=3)
