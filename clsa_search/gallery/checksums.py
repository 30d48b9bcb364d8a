"""Checksums of a gallery's file: damage is found before it can change a search.

Shape letters: N detections.
"""

import math
import sqlite3
import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any

import numpy as np

from clsa_search.gallery.embedding_index import SOURCE_SHIFT

_TRACKLET = struct.Struct("<4q2d5q2dq")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: products keep all bits


def sum_detections(rows: Sequence[tuple]) -> np.ndarray:
    """Compute the checksums (N,) int64 of all that searches compare.

    They cost a tenth of the time of loading; a CRC costs a third.

    Args:
        rows: (id, image, camera, time, score, embedding as bytes) of each, at least one.

    Raises:
        ValueError, TypeError: a value has a wrong type, or embeddings differ in size.
    """
    ids, images, cameras, times, scores, embeddings = zip(*rows, strict=True)
    (size,) = set(map(len, embeddings))
    words = np.frombuffer(b"".join(embeddings), "<u4" if size % 8 else "<u8")
    sums = words.reshape(len(rows), -1).sum(axis=1, dtype="<u8")
    for values, dtype in (
        (ids, "<i8"),
        (images, "<i8"),
        ([_sum_text(camera) for camera in cameras], "<i8"),
        (times, "<f8"),  # NaN without a time
        (scores, "<f8"),
    ):
        sums = sums * _FACTOR + np.array(values, dtype).view("<u8")
    return sums.view("<i8")


def sum_rows(rows: Sequence[tuple]) -> list[tuple[int, int, int]]:
    """Return rows of the table of checksums for rows of `DETECTION_COLUMNS`."""
    sums = sum_detections([_to_searched(row) for row in rows]).tolist() if rows else []
    return [(row[0], one, sum_box(row[5:9], row[10])) for row, one in zip(rows, sums, strict=True)]


def check_searched(rows: Sequence[tuple], known: Sequence[tuple], width: int) -> None:
    """Check loaded detections.

    Args:
        rows: see `sum_detections`; may be empty.
        known: (id, checksum) of as many rows of the table of checksums.
        width: embedding width.

    Raises:
        sqlite3.DataError: a detection is damaged or lost.
    """
    try:
        if len(rows) == len(known) and len(rows[0][-1]) == 4 * width:
            found = [row[0] for row in rows], sum_detections(rows).tolist()
            if found == tuple(map(list, zip(*known, strict=True))):
                return
    except Exception:  # a damaged value can have any type
        pass
    _raise_first(rows, known, lambda row: (row[0], *sum_detections([row]).tolist()), width)


def check_stored(rows: Sequence[tuple], known: Sequence[tuple], width: int | None) -> None:
    """Check rows of the table of detections by those of the table of checksums.

    Args:
        rows: rows of `DETECTION_COLUMNS`.
        known: all columns.
        width: embedding width of the gallery.

    Raises:
        sqlite3.DataError: a detection is damaged or lost.
    """
    try:
        if sum_rows(rows) == list(known) and all(len(row[-1]) == 4 * (width or 0) for row in rows):
            return
    except Exception:  # a damaged value can have any type
        pass
    _raise_first(rows, known, lambda row: sum_rows([row])[0], width)


def _raise_first(
    rows: Sequence[tuple], known: Sequence[tuple], sum_row: Any, width: int | None
) -> None:
    """Name the first damaged detection."""
    for row, expected in zip_longest(rows, known):
        if row is None or expected is None or row[0] != expected[0]:
            raise sqlite3.DataError(f"detection {(row or expected)[0]} is damaged or lost")
        size = len(row[-1]) if isinstance(row[-1], bytes) else -1
        if width is None or size != 4 * width:
            raise sqlite3.DataError(f"detection {row[0]} holds {size} bytes of {4 * (width or 0)}")
        try:
            found = sum_row(row)
        except Exception as error:  # a damaged value can have any type
            raise sqlite3.DataError(f"detection {row[0]} is damaged: {error}") from error
        if found != expected:
            raise sqlite3.DataError(f"detection {row[0]} is damaged")
    raise sqlite3.DataError("detections are damaged")


def sum_box(box: Sequence[float], origin: str = "model") -> int:
    """Compute the checksum of a box and its origin; that of the model adds nothing."""
    mark = b"" if origin == "model" else origin.encode()
    return zlib.crc32(struct.pack("<4d", *box) + mark)


def sum_source(*fields: object) -> int:
    """Compute the checksum of a source: its id, path, fingerprint and all further fields."""
    return zlib.crc32("\0".join(map(str, fields)).encode())


def sum_tracklet(row: Sequence[Any]) -> int:
    """Compute the checksum of a row of the table of tracklets, without its last column.

    Raises:
        struct.error, TypeError: a value has a wrong type.
    """
    i, source, chain, camera, first, last, first_frame, last_frame, *others = row
    detections, best, score, purity, members_sum, embedding_sum = others
    packed = _TRACKLET.pack(
        *(i, source, chain, _sum_text(camera)),
        *(math.nan if time is None else time for time in (first, last)),
        *(-1 if frame is None else frame for frame in (first_frame, last_frame)),
        *(detections, best, members_sum, score, purity, embedding_sum),
    )
    return zlib.crc32(packed)


def sum_ids(ids: Sequence[int]) -> int:
    """Compute the checksum of the members of a tracklet."""
    return zlib.crc32(np.array(ids, "<i8").tobytes())


def sum_bytes(data: bytes) -> int:
    """Compute the checksum of an embedding."""
    return zlib.crc32(data)


def sum_note(*fields: object) -> int:
    """Compute the checksum of a note: its kind, detection, value and data."""
    return zlib.crc32(repr(fields).encode())


@lru_cache(maxsize=4096)
def _sum_text(text: str | None) -> int:
    return -1 if text is None else zlib.crc32(text.encode())


def _to_searched(row: tuple) -> tuple:
    """Return the part of a row of `DETECTION_COLUMNS` that searches compare."""
    detection_id, source, frame, time, camera, *_, score, _, embedding = row
    image = source << SOURCE_SHIFT | (0 if frame is None else frame + 1)
    return detection_id, image, camera, time, score, embedding
