"""The indexed pictures of a gallery, to pick one from."""

from typing import NamedTuple

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, StoredDetection
from clsa_search.retrieval.times import CALENDAR_FROM, parse_time
from clsa_search.retrieval.video import locate_frame

PER_PAGE = 8
_ENOUGH = 100  # people to look through for the first picture
_EVER = 1e12  # seconds
_INSTANT = 1e-3  # seconds


class Shelf(NamedTuple):
    """A page of sources with people."""

    paths: list[str]
    page: int  # from 0
    pages: int


def browse(store: GalleryStore, text: str = "", page: int = 0) -> Shelf:
    """Sources with people whose path contains the text, a page of them; there is always one."""
    found = match_sources(store, text)
    pages = max(1, -(-len(found) // PER_PAGE))
    page = min(max(page, 0), pages - 1)
    return Shelf(found[page * PER_PAGE : (page + 1) * PER_PAGE], page, pages)


def match_sources(store: GalleryStore, text: str) -> list[str]:
    """Paths of all sources with people that contain the text, in upper or lower case."""
    wanted = text.strip().casefold()
    return [
        source.path
        for source in store.sources()
        if source.detections and wanted in source.path.casefold()
    ]


def list_frame_detections(
    store: GalleryStore, path: str, since: float | None = None
) -> list[StoredDetection]:
    """The people of a photograph, or of a video's first frame with any from a time on.

    They come as they were found, surest first.

    Raises:
        InputError: nobody of this source is stored, or nobody so late.
    """
    one = _list_some(store, Filter(sources=[path]), 1)
    if not one:
        raise InputError(f"{path}: is not in the gallery; expected an indexed picture")
    where = Filter(sources=[path])
    if one[0].time is not None:
        where = _find_first(store, path, -_EVER if since is None else since)
    people = _list_some(store, where, max(1, store.count(where)))
    if not people:
        raise InputError(f"{path}: has no detection from then on; expected an earlier time")
    frame = min(entry.frame or 0 for entry in people)
    people = [entry for entry in people if (entry.frame or 0) == frame]
    return sorted(people, key=lambda entry: (-entry.score, entry.detection_id))


def find_time(store: GalleryStore, path: str, text: str) -> float:
    """A time of a video as the gallery has it, from a date or a time since its beginning.

    Raises:
        InputError: the text is neither, or nobody of this video is stored.
    """
    seconds = parse_time(text)
    if seconds >= CALENDAR_FROM:
        return seconds
    first = list_frame_detections(store, path)[0]
    passed = locate_frame(first.source, first.frame or 0) or 0.0
    return (first.time or 0.0) - passed + seconds - _INSTANT  # no rounding hides a frame


def _find_first(store: GalleryStore, path: str, since: float) -> Filter:
    """A time, from `since` on, that holds the video's first people and not many others."""
    low, high = since, _EVER
    while high - low > _INSTANT:
        if store.count(Filter(sources=[path], since=low, until=high)) <= _ENOUGH:
            break
        middle = (low + high) / 2
        if store.count(Filter(sources=[path], since=low, until=middle)):
            high = middle
        else:
            low = middle
    return Filter(sources=[path], since=low, until=high)


def _list_some(store: GalleryStore, where: Filter, count: int) -> list[StoredDetection]:
    """Entries that pass; which ones come first means nothing."""
    direction = np.eye(1, store.width or 1, dtype=np.float32)
    return [match.detection for match in store.search(direction, count, where)[0]]
