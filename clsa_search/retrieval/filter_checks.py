"""What a filter asks of a gallery that it cannot give: to be told, not searched for in silence."""

import math
from collections.abc import Iterable
from dataclasses import replace

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore
from clsa_search.retrieval.results import printable
from clsa_search.retrieval.times import CALENDAR_FROM, format_time

_NAMED = 10  # at most, of what there is


def check_filter(store: GalleryStore, where: Filter) -> None:
    """See that a filter means something in this gallery.

    Raises:
        InputError: a camera or a source is none of the gallery's, or the score is none.
    """
    if where.min_score is not None and not 0 <= where.min_score <= 1:
        raise InputError(f"min_score: {where.min_score:g}; expected a score from 0 to 1")
    for camera in where.cameras or ():
        if not store.count(Filter(cameras=[camera])):
            known = _name_some(store.cameras())
            raise InputError(f"camera: {printable(camera)} has nobody; expected {known}")
    for path in where.sources or ():
        if store.count(Filter(sources=[path])):
            continue
        known = [source.path for source in store.sources()]
        if path not in known:  # or nobody is in it
            path, known = printable(path), _name_some(known)
            raise InputError(f"source: {path} is not indexed; expected {known}")


def check_times(store: GalleryStore, where: Filter) -> None:
    """See that times are of the kind that the rows have which a filter is about.

    Raises:
        InputError: a time of a calendar is compared with times within videos alone, or the reverse.
    """
    within = replace(where, since=None, until=math.nextafter(CALENDAR_FROM, 0))
    calendar = replace(where, since=CALENDAR_FROM, until=None)
    for name in ("since", "until"):
        bound = getattr(where, name)
        if bound is None:
            continue
        is_date = bound >= CALENDAR_FROM
        same, other = (calendar, within) if is_date else (within, calendar)
        if store.count(other) and not store.count(same):
            said, right = "a time within a video", "a date and time as 2026-05-01T12:00:30"
            if is_date:
                said, right = "a date", "a time within the video as 0:01:30"
            raise InputError(
                f"{name}: {format_time(bound)} is {said}; expected {right}, "
                "which is what is stored of the files in question"
            )


def _name_some(names: Iterable[str]) -> str:
    """For a message: up to `_NAMED`."""
    names = sorted(names)
    more = f" or one of {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(printable, names[:_NAMED])) + more if names else "none: there are none"
