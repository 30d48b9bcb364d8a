"""Checks of filters against a gallery: report values without any match."""

import math
from collections.abc import Iterable
from dataclasses import replace

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore
from clsa_search.gallery.input_checks import check_where
from clsa_search.retrieval.results import printable
from clsa_search.retrieval.time_format import CALENDAR_FROM, format_time

_MAX_NAMES = 10  # in a message


def check_filter(store: GalleryStore, where: Filter) -> None:
    """Check the cameras and sources of a filter against the gallery.

    Raises:
        InputError: a camera or a source is unknown, or the minimum score is out of range.
    """
    check_where(where)
    if where.min_score is not None and not 0 <= where.min_score <= 1:
        raise InputError(f"min_score: {where.min_score:g}; expected a score from 0 to 1")
    cameras = store.cameras() if where.cameras else []
    for camera in where.cameras or ():
        if camera not in cameras:
            known = _join_names(cameras)
            raise InputError(f"camera: {printable(camera)} has no detections; expected {known}")
    for path in where.sources or ():
        if store.count(Filter(sources=[path])):
            continue
        paths = store.paths()
        if path not in paths:  # a source without detections is fine
            path, known = printable(path), _join_names(paths)
            raise InputError(f"source: {path} is not indexed; expected {known}")


def check_times(
    store: GalleryStore, where: Filter, *, since: str = "since", until: str = "until"
) -> None:
    """Check the clock of a filter's times against the stored times.

    Args:
        store: gallery.
        where: filter.
        since: name of the first time for messages.
        until: name of the last time for messages.

    Raises:
        InputError: the filter ends before it begins; it has a date but all its detections have
            times within videos, or the reverse.
    """
    if where.since is not None and where.until is not None and where.since > where.until:
        raise InputError(
            f"{since}: {format_time(where.since)} is later than {until}: "
            f"{format_time(where.until)}; "
            "expected an earlier time"
        )
    in_video = replace(where, since=None, until=math.nextafter(CALENDAR_FROM, 0))
    on_calendar = replace(where, since=CALENDAR_FROM, until=None)
    for name, bound in ((since, where.since), (until, where.until)):
        if bound is None:
            continue
        is_date = bound >= CALENDAR_FROM
        same, other = (on_calendar, in_video) if is_date else (in_video, on_calendar)
        if store.count_tracklets(other) and not store.count_tracklets(same):
            given, expected = "a time within a video", "a date and time as 2026-05-01T12:00:30"
            if is_date:
                given, expected = "a date", "a time within the video as 0:01:30"
            raise InputError(
                f"{name}: {format_time(bound)} is {given}; expected {expected}, "
                "as stored for these files"
            )


def _join_names(names: Iterable[str]) -> str:
    """Join at most `_MAX_NAMES` names for a message."""
    names = sorted(names)
    more = f" or one of {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(map(printable, names[:_MAX_NAMES])) + more if names else "none: there are none"
