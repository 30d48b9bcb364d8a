"""Times of creation that the containers of videos declare."""

import re
from datetime import datetime, timedelta, timezone

from clsa_search.retrieval.mp4_boxes import read_mp4_creation
from clsa_search.retrieval.video_container import Container, read_container

_HEAD_BYTES = 1 << 16  # headers stand at the start of these containers
_EPOCH = {
    Container.MP4: datetime(1904, 1, 1, tzinfo=timezone.utc),
    Container.MATROSKA: datetime(2001, 1, 1, tzinfo=timezone.utc),
    Container.ASF: datetime(1601, 1, 1, tzinfo=timezone.utc),
}
_MATROSKA_DATE = b"\x44\x61\x88"  # identifier and length of DateUTC
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_AVI_FORMS = "%a %b %d %H:%M:%S %Y", "%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y:%m:%d %H:%M:%S"


def read_creation_time(path: str) -> datetime | None:
    """Return the time of creation that a video declares.

    Returns:
        A time in UTC, or for AVI a time without zone; None if the container declares none.

    Raises:
        OSError: the file cannot be read.
    """
    container, _ = read_container(path)
    if container is Container.MP4:
        seconds = read_mp4_creation(path)
        return None if seconds is None else _EPOCH[container] + timedelta(seconds=seconds)
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if container is Container.MATROSKA:
        place = head.find(_MATROSKA_DATE) + len(_MATROSKA_DATE)
        nanoseconds = int.from_bytes(head[place : place + 8], "big", signed=True)
        return _since(container, nanoseconds / 1000) if _MATROSKA_DATE in head else None
    if container is Container.ASF:  # identifiers, sizes, then steps of 100 nanoseconds
        place = head.find(_ASF_PROPERTIES) + 48
        steps = int.from_bytes(head[place : place + 8], "little")
        return _since(container, steps / 10) if _ASF_PROPERTIES in head else None
    return _read_avi_date(head) if container is Container.RIFF else None


def _since(container: Container, microseconds: float) -> datetime | None:
    return _EPOCH[container] + timedelta(microseconds=microseconds) if microseconds else None


def _read_avi_date(head: bytes) -> datetime | None:
    """Return the date in the chunk IDIT, which cameras write in their own time."""
    chunk = re.search(rb"IDIT(.{4})", head, re.DOTALL)
    if chunk is None:
        return None
    size = int.from_bytes(chunk[1], "little")
    text = head[chunk.end() : chunk.end() + size].decode("ascii", "replace").strip("\0\r\n ")
    for form in _AVI_FORMS:
        try:
            return datetime.strptime(" ".join(text.split()), form)
        except ValueError:
            continue
    return None
