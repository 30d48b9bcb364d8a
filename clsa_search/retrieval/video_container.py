"""Containers of videos: the sizes they declare, and the time stamps of their packets.

OpenCV tells neither whether a file was cut nor whether its time stamps fall back.
"""

import os
from contextlib import suppress
from enum import Enum
from functools import lru_cache
from typing import BinaryIO, NamedTuple

import cv2

from clsa_search.retrieval.mp4_boxes import OPENING_KINDS, read_mp4_length, read_mp4_size

JOIN_SECONDS = 0.5
"""Time stamps that fall back further begin another recording; the rest is jitter."""

_ASF_HEADER = bytes.fromhex("3026b2758e66cf11")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # identifier of an object
_ASF_BYTES = 1 << 16  # to search for it
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # of a RIFF chunk written to a pipe


class Container(Enum):
    """A family of containers."""

    MP4 = "MP4 and MOV"
    RIFF = "AVI"
    MATROSKA = "Matroska and WebM"
    ASF = "ASF and WMV"
    MPEG = "MPEG transport and program streams"
    OTHER = "others"


class PacketTimes(NamedTuple):
    """Time stamps of the packets of a video.

    Args:
        last: highest time stamp in seconds.
        falls_back: whether the time stamps fall back, beyond the reordering of packets.
    """

    last: float
    falls_back: bool


def read_container(path: str) -> tuple[Container, int | None]:
    """Return the container of a file, and the size in bytes it declares; None if it declares none.

    Raises:
        OSError: the file cannot be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(8)
        if head[4:] in OPENING_KINDS:
            return Container.MP4, read_mp4_size(path)
        if head[:4] == b"RIFF":
            return Container.RIFF, _sum_chunks(file, size)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return Container.MATROSKA, _sum_elements(file)
        if head == _ASF_HEADER:
            return Container.ASF, _read_asf_size(file)
    # sync byte of a transport stream, also behind a time stamp of 4 bytes; or a pack header
    if head[:1] == b"\x47" or head[4:5] == b"\x47" or head[:4] == b"\x00\x00\x01\xba":
        return Container.MPEG, None
    return Container.OTHER, None


def is_whole(path: str, count: int, last: float, num_frames: float | None, fps: float) -> bool:
    """Return whether a decoded video lacks less than a second.

    The header that OpenCV reads does not tell: its length includes longer sound, frames hidden by
    an edit list, and a late start.

    Args:
        path: video file.
        count: number of decoded frames.
        last: seconds of the last one.
        num_frames: number of frames in the header; None if it declares none.
        fps: frames per second in the header.
    """
    container, declared = read_container(path)
    is_cut = declared is not None and declared > os.path.getsize(path) + 1  # 1: padding
    if is_cut and num_frames is None:
        return False
    length = 0.0 if num_frames is None else num_frames / fps
    if min(last + 1 / fps, count / fps) > length - max(1, 2 / fps):
        return True
    if is_cut or num_frames is None or count >= num_frames:
        return not is_cut
    if container is Container.MP4:
        length = read_mp4_length(path)
    elif declared is not None or container is Container.MPEG:  # the latter has no header
        packets = read_packet_times(path)
        length = 0.0 if packets is None else packets.last
    return length < last + 1


def has_one_timeline(path: str) -> bool:
    """Return whether time stamps identify the frames of a video: they never fall back.

    Containers with one index for all frames cannot do so. Others are read to their end once,
    without decoding.
    """
    state = os.stat(path)
    return _has_one_timeline(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _has_one_timeline(path: str, size: int, changed: int) -> bool:
    container, declared = read_container(path)
    if container in (Container.MP4, Container.RIFF, Container.ASF):
        return True
    if container is Container.MATROSKA and declared is not None and declared >= size:
        return True  # no second recording follows
    packets = read_packet_times(path)
    return packets is not None and not packets.falls_back


def read_packet_times(path: str) -> PacketTimes | None:
    """Read the time stamps of all packets without decoding.

    Returns:
        The time stamps; None if this version of OpenCV does not tell them (before 4.10).
    """
    capture = cv2.VideoCapture(path)
    last, falls_back = 0.0, False
    try:
        if not capture.set(cv2.CAP_PROP_FORMAT, -1):  # packets as they are
            return None
        while capture.grab():
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            falls_back |= seconds < last - JOIN_SECONDS
            last = max(last, seconds)
    finally:
        capture.release()
    return PacketTimes(last, falls_back) if last else None


def _sum_chunks(file: BinaryIO, size: int) -> int | None:
    """Return the declared size of an AVI file: the sum of its chunks; None if it is open."""
    offset = 0
    while offset < size:
        file.seek(offset)
        header = file.read(8)
        length = int.from_bytes(header[4:], "little")
        if header[:4] != b"RIFF":
            return size
        if length in _UNKNOWN_SIZES:
            return None
        offset += 8 + length + length % 2
    return offset


def _read_asf_size(file: BinaryIO) -> int | None:
    """Return the size in the file properties of an ASF file; None if it has none."""
    file.seek(0)
    data = file.read(_ASF_BYTES)
    place = (
        data.find(_ASF_PROPERTIES) + 40
    )  # identifier, size of the object, identifier of the file
    return int.from_bytes(data[place : place + 8], "little") or None if place >= 40 else None


def _sum_elements(file: BinaryIO) -> int | None:
    """Return the declared size of a Matroska file: header and segment; None if it is open."""
    file.seek(4)
    with suppress(ValueError):
        file.seek(_read_length(file), os.SEEK_CUR)
        if file.read(4) == b"\x18\x53\x80\x67":  # the segment
            return _read_length(file) + file.tell()
    return None


def _read_length(file: BinaryIO) -> int:
    """Read a length of Matroska, of 1 to 8 bytes.

    Raises:
        ValueError: the length is unknown or malformed.
    """
    first = file.read(1)
    count = 9 - first[0].bit_length() if first and first[0] else 9
    value = int.from_bytes(first + file.read(count - 1), "big")
    length = value & ~(-1 << 7 * count)
    if count > 8 or length == (1 << 7 * count) - 1:
        raise ValueError("no length")
    return length
