"""Checks of a results.json before an export or a verdict repeats what it says."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore
from clsa_search.wording import show_value

_ROUNDED = 0.01  # pixels
_Check = tuple[Callable[[Any], bool], str]


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


_QUERY: Mapping[str, _Check] = {
    "id": (_or_none(lambda value: isinstance(value, str)), "a text"),
    "title": (_or_none(lambda value: isinstance(value, str)), "a text"),
    "query_images": (_or_none(lambda value: isinstance(value, list)), "a list"),
    "searched": (_or_none(_is_count), "a number of sightings"),
    "matches": (lambda value: isinstance(value, list), "a list of matches"),
}
_SCOPE: Mapping[str, _Check] = {
    "filters": (_or_none(lambda value: isinstance(value, dict)), "an object"),
    "calibration": (_or_none(lambda value: isinstance(value, dict)), "an object"),
}
_MATCH: Mapping[str, _Check] = {
    "detection": (lambda value: _is_count(value) and value > 0, "the id of a detection"),
    "similarity": (_is_number, "a number"),
    "expected_strangers": (_or_none(_is_number), "a number"),
    "z": (_or_none(_is_number), "a number"),
    "probability": (_or_none(_is_number), "a number"),
    "tracklet": (_or_none(lambda value: _is_count(value) and value > 0), "the id of a sighting"),
    "verdict": (_or_none(lambda value: isinstance(value, str)), "a text"),
    "said": (lambda value: value in (None, "same", "other"), "same or other"),
}


def check_record(query: Any, name: str) -> None:
    """Check the fields of a query in a results.json.

    Args:
        query: value of the file.
        name: name of the file for messages.

    Raises:
        InputError: a field has another type, or a number is not finite.
    """
    _check_fields(query, _QUERY, name)
    for number, match in enumerate(query["matches"], 1):
        _check_fields(match, _MATCH, f"{name}: match {number}")
    _check_finite(query, name)


def check_scope(scope: Any, name: str) -> None:
    """Check the fields of the scope in a results.json; see `check_record`."""
    _check_fields(scope, _SCOPE, f"{name}: scope")
    _check_finite(scope, name)


def check_same_gallery(
    store: GalleryStore, matches: Sequence[Mapping[str, Any]], name: str
) -> None:
    """Check that the matches of a results.json are detections of this gallery.

    Ids count from 1 in every gallery: those of another one would name other people.

    Args:
        store: gallery.
        matches: checked by `check_record`.
        name: name of the file for messages.

    Raises:
        InputError: a match is not stored, or another detection has its id.
    """
    expected = f"expected results of a search in {store.address}, after its last changes"
    try:
        detections = store.get([match["detection"] for match in matches])
    except InputError as error:
        raise InputError(f"{name}: {error}; {expected}") from error
    for number, (match, one) in enumerate(zip(matches, detections, strict=True), 1):
        if match.get("frame") != one.frame or not _is_box(match.get("box"), one.box):
            raise InputError(
                f"{name}: match {number}: detection {one.detection_id} is another one in this "
                f"gallery; {expected}"
            )


def _check_finite(value: Any, name: str) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise InputError(f"{name}: {error}; expected finite numbers") from error


def _is_box(value: Any, box: Sequence[float]) -> bool:
    """Return whether a value is a box, up to rounding."""
    if not isinstance(value, list) or len(value) != len(box) or not all(map(_is_number, value)):
        return False
    return all(abs(one - other) < _ROUNDED for one, other in zip(value, box, strict=True))


def _check_fields(value: Any, checks: Mapping[str, _Check], name: str) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{name}: {show_value(value)}; expected an object")
    for field, (is_right, expected) in checks.items():
        if not is_right(value.get(field)):
            given = show_value(value.get(field))
            raise InputError(f"{name}: {field}: {given}; expected {expected}")
