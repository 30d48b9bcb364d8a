"""The watch list after indexing, for the command and the desk: compared, and its hits reported."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clsa_search.gallery import GalleryStore
from clsa_search.retrieval.hit_reports import format_hit, run_hook
from clsa_search.retrieval.stored_calibration import StrangerCounter
from clsa_search.retrieval.watch_hits import (
    DEFAULT_FALSE_ALARMS,
    WHOLE_DAY,
    compare_people,
    list_pending,
    mark_reported,
    tell_least_alarms,
)
from clsa_search.retrieval.watch_list import list_people


@dataclass(frozen=True)
class WatchOptions:
    """Options of the watch list.

    Args:
        false_alarms: accepted false alarms per day for the whole list.
        hook: words of a program for each hit; none without one.
        least_days: see `count_per_day`.
    """

    false_alarms: float = DEFAULT_FALSE_ALARMS
    hook: Sequence[str] = ()
    least_days: float = WHOLE_DAY


def compare_watched(store: GalleryStore, options: WatchOptions) -> str | None:
    """Compare the watch list with the new sightings; hits are pending then.

    Returns:
        The reason why nobody can be reported; None without one.
    """
    if not any(one.is_watched(time.time()) for one in list_people(store)):
        return None
    loaded = StrangerCounter(store).load()
    if loaded.scale is None:
        reason = loaded.describe() or ""
        return f"watch list: not compared, the gallery is not calibrated: {reason}"
    least = tell_least_alarms(store, loaded.scale.lowest, options.least_days)
    compare_people(
        store,
        loaded.count,
        false_alarms_per_day=options.false_alarms,
        least_days=options.least_days,
    )
    if least <= options.false_alarms:
        return None
    return (
        f"watch list: nothing can be reported: {least:.2g} false alarms a day are the fewest that "
        f"the calibration can tell, --false-alarms allows {options.false_alarms:g}; expected more, "
        "fewer images of people, or `clsa-search calibrate` with more footage"
    )


def report_hits(
    store: GalleryStore,
    hook: Sequence[str],
    tell: Callable[[str], None],
    warn: Callable[[str], None],
) -> int:
    """Report the pending hits, also those of an interrupted process.

    Args:
        store: gallery.
        hook: words of a program for each hit; none without one.
        tell: called with each hit as a line of JSON.
        warn: called with the reason of each failed hook; its hit stays pending.

    Returns:
        Number of reported hits.
    """
    number = 0
    for hit in list_pending(store):
        reason = run_hook(hook, hit) if hook else None
        if reason is not None:
            warn(f"{reason}; it is tried again")
            continue
        tell(format_hit(hit))
        mark_reported(store, hit)
        number += 1
    return number
