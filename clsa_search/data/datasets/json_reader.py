"""Entries of a COCO-like JSON, read by column, with errors that point at the entry at fault."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from clsa_search.data.records import meets_image, to_corners
from clsa_search.errors import InputError

_REQUIRED = object()
_LARGEST = 1e9  # pixels; comparing with it refuses NaN and infinity too


def read_document(path: Path) -> dict:
    """The object in a JSON file.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: not a readable dataset file: {error.strerror}") from error
    except ValueError as error:  # JSONDecodeError or UnicodeDecodeError
        raise InputError(f"{path}: not a readable JSON file: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: holds {show(document)}; expected an object with 'images'")
    return document


class Section:
    """One list of entries of the file, read by column, with errors that point at the entry."""

    def __init__(self, document: dict, name: str, path: Path, *, required: bool = True) -> None:
        self.name, self.path = name, path
        if required and name not in document:
            raise InputError(f"{path}: '{name}' is missing; expected a list of objects")
        self.entries = document.get(name, [])
        if not isinstance(self.entries, list):
            raise InputError(
                f"{path}: '{name}' is {show(self.entries)}; expected a list of objects"
            )
        for index, entry in enumerate(self.entries):
            if not isinstance(entry, dict):
                raise InputError(f"{path}: {name}[{index}] is {show(entry)}; expected an object")

    def fault(self, index: int, field: str, expected: str) -> InputError:
        entry = self.entries[index]
        found = f"is {show(entry[field])}" if field in entry else "is missing"
        return InputError(
            f"{self.path}: {self.name}[{index}]: '{field}' {found}; expected {expected}"
        )

    def column(
        self,
        field: str,
        check: Callable[[Any], bool],
        expected: str,
        default: Any = _REQUIRED,
    ) -> list:
        """The field of every entry, each passing `check`; `default` where an entry lacks it."""
        values = [entry.get(field, default) for entry in self.entries]
        for index, value in enumerate(values):
            if value is not default and not check(value) or value is _REQUIRED:
                raise self.fault(index, field, expected)
        return values

    def unique_ids(self) -> list:
        """The `id` of every entry; ids that read the same as text count as equal."""
        ids = self.column("id", is_id, "an integer or a text")
        first = {}
        for index, value in enumerate(ids):
            if (other := first.setdefault(str(value), index)) != index:
                raise self.fault(
                    index, "id", f"an id of its own, {self.name}[{other}] has this one"
                )
        return ids

    def image_positions(self, positions: dict) -> list[int]:
        """Position in the file's images of the image that each entry belongs to."""
        expected = "the id of an entry of 'images'"
        return [
            positions[value]
            for value in self.column("image_id", lambda v: is_id(v) and v in positions, expected)
        ]

    def boxes(self, image_sizes: np.ndarray) -> np.ndarray:
        """Corners (N, 4) XYXY clipped to the images, whose (N, 2) width and height are given."""
        expected = "[x, y, width, height] in pixels, finite, with width and height above 0"
        boxes = to_corners(self.column("bbox", is_box, expected), image_sizes)
        outside = np.flatnonzero(~meets_image(boxes))
        if outside.size:
            width, height = image_sizes[outside[0]]
            raise self.fault(outside[0], "bbox", f"a box that meets its image ({width} x {height})")
        return boxes


def is_integer(value: Any) -> bool:
    return type(value) is int  # True and False are no numbers here


def is_size(value: Any) -> bool:
    return is_integer(value) and 0 < value < _LARGEST


def is_id(value: Any) -> bool:
    return is_integer(value) or isinstance(value, str)


def is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(type(v) in (int, float) and -_LARGEST < v < _LARGEST for v in value)
        and value[2] > 0
        and value[3] > 0
    )


def show(value: Any) -> str:
    """The value as it stands in the file, shortened."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
