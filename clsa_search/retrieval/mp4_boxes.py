"""Boxes of MP4 and MOV files (ISO 14496-12): declared size, length and creation of the video."""

import os
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap

OPENING_KINDS = frozenset(b"ftyp moov mdat free skip wide pnot styp uuid".split())
"""Kinds of boxes that may open a file."""


def read_mp4_size(path: str | os.PathLike) -> int:
    """Return the size in bytes that the boxes of a file declare."""
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return max((stop for _, _, stop in _split_boxes(data, 0, len(data))), default=0)


def read_mp4_length(path: str | os.PathLike) -> float:
    """Return the seconds for which the longest video track is shown; 0 if unknown."""
    length = 0.0
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        for movie in _find_boxes(data, b"moov", 0, len(data)):
            scales = [
                _read_number(data, start + (20 if data[start] else 12), 4)
                for start, _ in _find_boxes(data, b"mvhd", *movie)
            ]
            for track in _find_boxes(data, b"trak", *movie):
                if any(scales) and _is_video(data, *track):
                    length = max(length, _read_duration(data, *track) / max(scales))
    return length


def read_mp4_creation(path: str | os.PathLike) -> int | None:
    """Return the seconds from 1904 to the creation of a file, in UTC; None if it declares none."""
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        for movie in _find_boxes(data, b"moov", 0, len(data)):
            for start, _ in _find_boxes(data, b"mvhd", *movie):
                return _read_number(data, start + 4, 8 if data[start] else 4) or None
    return None


def _is_video(data: mmap, start: int, stop: int) -> bool:
    return any(
        data[handler + 8 : handler + 12] == b"vide"
        for media in _find_boxes(data, b"mdia", start, stop)
        for handler, _ in _find_boxes(data, b"hdlr", *media)
    )


def _read_duration(data: mmap, start: int, stop: int) -> int:
    """Return the duration in the header of a track, after its edits; 0 if unknown."""
    for header, _ in _find_boxes(data, b"tkhd", start, stop):
        place, size = (28, 8) if data[header] else (20, 4)  # by the version
        duration = _read_number(data, header + place, size)
        return 0 if duration == (1 << 8 * size) - 1 else duration
    return 0


def _find_boxes(data: mmap, kind: bytes, start: int, stop: int) -> list[tuple[int, int]]:
    """Return the contents of the boxes of a kind among those between two bytes."""
    return [box[1:] for box in _split_boxes(data, start, stop) if box[0] == kind]


def _split_boxes(data: mmap, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start of the content, and end of each box between two bytes of a file.

    The last end may lie behind the file.
    """
    while start + 8 <= min(stop, len(data)):
        length, content = _read_number(data, start, 4), start + 8
        if length == 1:
            length, content = _read_number(data, start + 8, 8), start + 16
        end = start + length if length else stop  # 0: up to the end
        if end < content:  # no box
            return
        yield data[start + 4 : start + 8], content, end
        start = end


def _read_number(data: mmap, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], "big")
