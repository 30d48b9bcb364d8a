"""Coverage of a search: the times with and without indexed footage of each camera."""

import os
from collections.abc import Collection, Mapping
from contextlib import closing

from clsa_search.data.image_io import IMAGE_SUFFIXES
from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, Source
from clsa_search.retrieval.mp4_boxes import read_mp4_length
from clsa_search.retrieval.result_images import check_unchanged
from clsa_search.retrieval.source_base import find_base
from clsa_search.retrieval.time_format import CALENDAR_FROM
from clsa_search.retrieval.video import Video, measure_length
from clsa_search.sightings.coverage import CameraCoverage, Footage, find_coverage

_MP4_SUFFIXES = (".mp4", ".m4v", ".mov")


def read_coverage(store: GalleryStore, where: Filter | None = None) -> list[CameraCoverage]:
    """Find the times with and without footage of each camera in a filter.

    Ends of videos are read from their files. Of a lost or changed file, only the time up to its
    last sighting counts: no hour without footage passes for one with footage.

    Args:
        store: gallery.
        where: filter of a search; its dates bound the question.

    Returns:
        One record for each camera, by name; times are POSIX seconds.
    """
    where = where or Filter()
    sources = [one for one in store.sources() if _passes(one, where)]
    dated = [one for one in sources if find_base(one) >= CALENDAR_FROM]
    lengths = {one.path: measure_indexed(one) for one in dated}
    unread = [path for path, seconds in lengths.items() if seconds is None]
    seen = _find_last_times(store, unread) if unread else {}
    footage = [_find_span(one, lengths, seen) for one in sources]
    return find_coverage(footage, _to_date(where.since), _to_date(where.until))


def measure_indexed(source: Source) -> float | None:
    """Return the indexed seconds of a file; None if the file does not tell."""
    if os.path.splitext(source.path)[1].lower() in IMAGE_SUFFIXES:
        return 0.0
    if source.fingerprint is None:
        return None
    try:
        check_unchanged(source.path, source.fingerprint)
        if source.next_frame is None:
            return _read_length(source.path)
        with closing(Video(source.path)) as video:
            return source.next_frame / video.fps
    except InputError:
        return None


def _read_length(path: str) -> float | None:
    """Return the seconds of a video; an MP4 file tells them twenty times faster than a decoder."""
    if os.path.splitext(path)[1].lower() in _MP4_SUFFIXES:
        try:
            if length := read_mp4_length(path):
                return length
        except (OSError, ValueError, IndexError, ZeroDivisionError):  # no such file after all
            pass
    return measure_length(path)


def _passes(source: Source, where: Filter) -> bool:
    is_chosen = where.sources is None or source.path in where.sources
    return is_chosen and (where.cameras is None or source.camera in where.cameras)


def _find_last_times(store: GalleryStore, paths: Collection[str]) -> dict[str, float]:
    """Return the time of the last sighting of each source."""
    last: dict[str, float] = {}
    for one in store.tracklets(Filter(sources=list(paths))):
        if one.last is not None:
            last[one.source] = max(one.last, last.get(one.source, one.last))
    return last


def _find_span(
    source: Source, lengths: Mapping[str, float | None], seen: Mapping[str, float]
) -> Footage:
    if source.path not in lengths:
        return Footage(source.camera, None, None)
    start, length = find_base(source), lengths[source.path]
    return Footage(
        source.camera, start, seen.get(source.path) if length is None else start + length
    )


def _to_date(bound: float | None) -> float | None:
    """Return a bound of a filter; None for a time within a video."""
    return bound if bound is not None and bound >= CALENDAR_FROM else None
