"""Checks of tracklets and notes before they are stored."""

import json
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery.missing_rows import MissingRow
from clsa_search.gallery.store_records import Note, Tracklet
from clsa_search.structures import UNIT_TOLERANCE

T = TypeVar("T")


def select_known(
    address: str, ids: Sequence[int], found: Mapping[int, T], name: str = "sighting"
) -> list[T]:
    """Return values in the order of ids.

    Raises:
        MissingRow: one of them was not found.
    """
    missing = [one for one in ids if one not in found]
    if missing:
        raise MissingRow(f"{address}: there is no {name} {missing[0]}; expected a stored one")
    return [found[one] for one in ids]


def check_tracklets(
    address: str,
    source: str,
    tracklets: Sequence[Tracklet],
    members: Sequence[Sequence[int]],
    stored: Sequence[int],
    width: int | None,
) -> None:
    """Check the tracklets of a source against its stored detections.

    Args:
        address: address of the store, for messages.
        source: path of the source.
        tracklets: all tracklets of the source.
        members: ids of the detections of each.
        stored: ids of the stored detections, ascending.
        width: embedding width of the store.

    Raises:
        InputError: see `TrackletStore.set_tracklets`.
    """
    name = f"{address}: {source}"
    if sorted(detection for ids in members for detection in ids) != list(stored):
        raise InputError(
            f"{name}: its detections are others than those of the sightings; expected each stored "
            "one once: link again, another process may have changed them"
        )
    if len(tracklets) != len(members):
        raise InputError(f"{name}: {len(tracklets)} sightings; expected {len(members)}, as members")
    for one, ids in zip(tracklets, members, strict=True):
        right = len(ids), min(ids, default=0), True
        if (one.detections, one.tracklet_id, one.best in ids) != right:
            raise InputError(
                f"{name}: sighting {one.tracklet_id} of {one.detections} with the best "
                f"{one.best}; expected the id {right[1]}, {right[0]} and one of its detections"
            )
        if len(ids) > 1 and not _is_unit(one.embedding, width):
            raise InputError(
                f"{name}: sighting {one.tracklet_id}: embedding: expected {width} finite numbers "
                "of unit length"
            )


def check_notes(address: str, notes: Sequence[Note]) -> None:
    """Check the types of notes.

    Raises:
        InputError: a field has a wrong type, or the values cannot be written as JSON.
    """
    for note in notes:
        if not isinstance(note, Note):
            raise InputError(f"{address}: a note is a {type(note).__name__}; expected a Note")
        try:
            json.dumps(dict(note.values), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"{address}: note {note.kind!r}: values: {error}; expected plain finite numbers, "
                "texts, lists and dictionaries"
            ) from error
        if not note.kind or not (note.data is None or isinstance(note.data, bytes)):
            raise InputError(f"{address}: note {note.kind!r}; expected a kind, and data as bytes")


def _is_unit(embedding: np.ndarray | None, width: int | None) -> bool:
    if embedding is None or np.shape(embedding) != (width,):
        return False
    return bool(abs(np.linalg.norm(embedding) - 1) <= UNIT_TOLERANCE)  # false for NaN
