"""Reading of COCO-like JSON files by column, with messages that name the faulty entry."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clsa_search.data.records import clip_boxes, has_area, to_corners
from clsa_search.errors import InputError
from clsa_search.json_files import read_json
from clsa_search.wording import count_noun

_REQUIRED = object()
_LARGEST = 1e9  # pixels; the comparison with it refuses NaN and infinity too


def read_document(path: Path) -> dict:
    """Read the object of a JSON file.

    Raises:
        InputError: the file is missing, is not JSON, or holds something else than an object.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: holds {show(document)}; expected an object with 'images'")
    return document


class Section:
    """A list of objects in a JSON file, such as its images or annotations.

    Args:
        document: object of the file.
        name: name of the list.
        path: the file, for messages.
        required: whether the list has to be there; otherwise a missing list is empty.

    Raises:
        InputError: the list is missing, or is not a list of objects.
    """

    def __init__(self, document: dict, name: str, path: Path, *, required: bool = True) -> None:
        self.name, self.path = name, path
        self._numbers: Sequence[int] | None = None
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

    def select(self, indices: np.ndarray) -> "Section":
        """Return some of the entries; messages name them by their numbers in the file."""
        selected = copy.copy(self)
        selected._numbers = indices.tolist()
        selected.entries = [self.entries[i] for i in selected._numbers]
        return selected

    def fault(self, indices: Sequence[int], field: str, expected: str) -> InputError:
        """Return the error about a field of some entries, at least one."""
        value = get_field(self.entries[indices[0]], field, _REQUIRED)
        found = "is missing" if value is _REQUIRED else f"is {show(value)}"
        number = indices[0] if self._numbers is None else self._numbers[indices[0]]
        more = len(indices) - 1
        others = f" (and so in {count_noun(more, 'more entry', 'more entries')})" if more else ""
        return InputError(
            f"{self.path}: {self.name}[{number}]: '{field}' {found}; expected {expected}{others}"
        )

    def column(
        self, field: str, check: Callable[[Any], bool], expected: str, default: Any = _REQUIRED
    ) -> list:
        """Return a field of all entries.

        Args:
            field: name of the field, see `get_field`.
            check: returns True for a valid value.
            expected: valid values in words, for messages.
            default: value of entries without the field; by default the field is required.

        Raises:
            InputError: a value is missing or not valid.
        """
        values = [get_field(entry, field, default) for entry in self.entries]
        wrong = [
            index
            for index, value in enumerate(values)
            if value is not default and not check(value) or value is _REQUIRED
        ]
        if wrong:
            raise self.fault(wrong, field, expected)
        return values

    def unique_ids(self) -> list:
        """Return the `id` of all entries and check that no two ids are equal as text."""
        ids = self.column("id", is_id, "an integer or a text")
        first: dict[str, int] = {}
        for index, value in enumerate(ids):
            if (other := first.setdefault(str(value), index)) != index:
                raise self.fault(
                    [index], "id", f"an id of its own, {self.name}[{other}] has this one"
                )
        return ids

    def image_positions(self, positions: dict) -> np.ndarray:
        """Return the (n,) int64 position of each entry's image, by `image_id`."""
        expected = "the id of an entry of 'images'"
        image_ids = self.column("image_id", lambda v: is_id(v) and v in positions, expected)
        return np.array([positions[image_id] for image_id in image_ids], dtype=np.int64)

    def boxes(self, image_sizes: np.ndarray) -> np.ndarray:
        """Return the (n, 4) XYXY boxes of the entries, clipped to their images.

        Args:
            image_sizes: (n, 2) width and height of each entry's image.

        Raises:
            InputError: a box is not valid, or is wholly outside its image.
        """
        expected = "[x, y, width, height] in pixels, finite, with width and height above 0"
        boxes = clip_boxes(to_corners(self.column("bbox", is_box, expected)), image_sizes)
        if outside := np.flatnonzero(~has_area(boxes)).tolist():
            width, height = image_sizes[outside[0]]
            raise self.fault(outside, "bbox", f"a box that meets its image ({width} x {height})")
        return boxes


def get_field(entry: dict, field: str, default: Any = None) -> Any:
    """Return a field of an entry; "attributes.track_id" is `track_id` in `attributes`."""
    if field in entry:
        return entry[field]
    outer, _, inner = field.partition(".")
    nested = entry.get(outer)
    return nested.get(inner, default) if inner and isinstance(nested, dict) else default


def is_integer(value: Any) -> bool:
    """Return whether a JSON value is an integer; true and false are not."""
    return type(value) is int


def is_size(value: Any) -> bool:
    """Return whether a JSON value is a width or height of an image."""
    return is_integer(value) and 0 < value < _LARGEST


def is_id(value: Any) -> bool:
    """Return whether a JSON value is an id: an integer or a text."""
    return is_integer(value) or isinstance(value, str)


def is_file_name(value: Any) -> bool:
    """Return whether a JSON value can be the name of a file."""
    return isinstance(value, str) and value != ""


def is_four_numbers(value: Any) -> bool:
    """Return whether a JSON value is a list of four finite numbers."""
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(type(v) in (int, float) and -_LARGEST < v < _LARGEST for v in value)
    )


def is_box(value: Any) -> bool:
    """Return whether a JSON value is [x, y, width, height] with a width and height above 0."""
    return is_four_numbers(value) and value[2] > 0 and value[3] > 0


def show(value: Any) -> str:
    """Return a value as in the file, shortened for messages."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= 80 else f"{text[:77]}..."
