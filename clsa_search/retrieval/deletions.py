"""Deletion of files and sightings: planned and counted first, then done.

Footage is never deleted. A sighting goes as a whole, if all of it lies in the selection.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, Tracklet
from clsa_search.retrieval.audit_log import write_audit
from clsa_search.retrieval.erasure import suppress_tracklets
from clsa_search.retrieval.results import printable
from clsa_search.retrieval.time_format import CALENDAR_FROM
from clsa_search.retrieval.watch_list import forget_examples, list_people
from clsa_search.wording import count_noun

_BATCH = 256  # sightings to read at a time
MAX_SHARE = 0.5
"""Larger shares of a gallery are deleted by force only."""


@dataclass(frozen=True, kw_only=True)
class DeletionSelector:
    """A choice of sightings; all given conditions hold. Without a condition none is chosen.

    Args:
        sources: paths of sources.
        cameras: names of cameras.
        before: sightings that end before this time in seconds.
        after: sightings that begin after this time in seconds.
        sightings: ids of tracklets; what continues them in other clips of the camera goes too.
    """

    sources: Sequence[str] | None = None
    cameras: Sequence[str] | None = None
    before: float | None = None
    after: float | None = None
    sightings: Collection[int] | None = None

    @property
    def has_whole_sources(self) -> bool:
        """Whether only sources are named: these go with all they hold."""
        others = self.cameras, self.before, self.after, self.sightings
        return self.sources is not None and all(one is None for one in others)

    @property
    def names(self) -> list[str]:
        """Names of the conditions."""
        return [name for name, value in vars(self).items() if value is not None]


@dataclass(frozen=True)
class DeletionPlan:
    """What a deletion would delete.

    Args:
        selector: the choice.
        sources: sources that go as a whole: number of detections by path.
        sightings: ids of the tracklets.
        detections: number of their detections.
        files: number of files with such sightings.
        first: earliest time; None if unknown.
        last: latest time.
        total: number of detections in the gallery.
        without_time: number of sightings that a time cannot choose, as theirs is unknown, or
            counts from the start of the video where dates are given.
    """

    selector: DeletionSelector
    sources: Mapping[str, int]
    sightings: tuple[int, ...]
    detections: int
    files: int
    first: float | None
    last: float | None
    total: int
    without_time: int = 0

    @property
    def is_large(self) -> bool:
        """Whether it needs force."""
        return self.detections > MAX_SHARE * self.total


def plan_deletion(store: GalleryStore, selector: DeletionSelector) -> DeletionPlan:
    """Count what a deletion would delete.

    Raises:
        InputError: the selection is empty by its form, or a source, a camera or a sighting is
            unknown.
    """
    if not selector.names:
        raise InputError("delete: nothing is chosen; expected files or a condition")
    if None not in (selector.before, selector.after) and selector.before <= selector.after:  # type: ignore[operator]
        raise InputError("delete: before is not later than after; expected a later time")
    _check_names(store, selector)
    total = store.count()
    if selector.has_whole_sources:
        return _plan_sources(store, selector, total)
    chosen, without_time = _choose(store, selector)
    times = [time for one in chosen for time in (one.first, one.last) if time is not None]
    return DeletionPlan(
        selector,
        {},
        tuple(one.tracklet_id for one in chosen),
        sum(one.detections for one in chosen),
        len({one.source for one in chosen}),
        min(times, default=None),
        max(times, default=None),
        total,
        without_time,
    )


class DeletionOutcome(NamedTuple):
    """Outcome of a deletion.

    Args:
        detections: number of deleted detections.
        left: reason why their bytes may still be on the disk; None if they are gone.
    """

    detections: int
    left: str | None


def run_deletion(
    store: GalleryStore,
    plan: DeletionPlan,
    *,
    force: bool = False,
    erase: bool = False,
    vacuum: bool = False,
    audit: bool = False,
) -> DeletionOutcome:
    """Delete what was planned.

    Args:
        store: gallery.
        plan: see :func:`plan_deletion`.
        force: delete more than half of the gallery.
        erase: note place and time of the sightings, without embeddings: when their files are
            indexed again, nobody is stored there.
        vacuum: write the file again without the freed space.
        audit: write a line to the log, with counts and without names.

    Raises:
        InputError: more than half would go without force.
    """
    if plan.is_large and not force:
        raise InputError(
            f"{store.address}: {plan.detections:,} of {count_noun(plan.total, 'detection')} would "
            "be deleted, more than half; expected --force if this is meant"
        )
    if erase:
        sightings = plan.sightings
        if plan.sources:
            where = Filter(sources=list(plan.sources))
            sightings = tuple(one.tracklet_id for one in store.tracklets(where))
        suppress_tracklets(store, sightings)
    try:
        _forget_examples_of(store, plan)
    except InputError:
        if not plan.sources:  # else damage: deleting the file is the cure
            raise
    if plan.sources:
        count = sum(store.delete(path) for path in plan.sources)
    else:
        count = store.delete_detections(store.list_members(plan.sightings))
    if audit:
        did = "erase" if erase else "delete"
        write_audit(store, did, plan.selector.names, count, len(plan.sightings))
    return DeletionOutcome(count, store.scrub(vacuum=vacuum))


def _forget_examples_of(store: GalleryStore, plan: DeletionPlan) -> None:
    """Delete the examples of the watch list that were taken from the sightings to delete."""
    if not any(len(person.examples) for person in list_people(store)):
        return
    sightings = list(plan.sightings)
    if plan.sources:
        where = Filter(sources=list(plan.sources))
        sightings = [one.tracklet_id for one in store.tracklets(where)]
    for start in range(0, len(sightings), _BATCH):
        batch = sightings[start : start + _BATCH]
        rows = [one.embedding for one in store.get_tracklets(batch)]
        rows += [one.embedding for one in store.get(store.list_members(batch))]
        forget_examples(store, np.array(rows, np.float32))


def _check_names(store: GalleryStore, selector: DeletionSelector) -> None:
    """Check that sources and cameras are known."""
    for name, given, known in (
        ("source", selector.sources, store.paths() if selector.sources else []),
        ("camera", selector.cameras, store.cameras() if selector.cameras else []),
    ):
        for one in given or ():
            if one not in known:
                store.sources()  # a damaged gallery may have lost it
                unknown = f"{store.address}: {name} {printable(one)}"
                raise InputError(f"{unknown} is not indexed; expected one of `list`")


def _plan_sources(store: GalleryStore, selector: DeletionSelector, total: int) -> DeletionPlan:
    """Plan without reading what may be damaged: deleting is the cure."""
    counts = {path: store.count(Filter(sources=[path])) for path in selector.sources or ()}
    count = sum(counts.values())
    return DeletionPlan(selector, counts, (), count, len(counts), None, None, total)


def _choose(store: GalleryStore, selector: DeletionSelector) -> tuple[list[Tracklet], int]:
    """Return the chosen tracklets, and the number of those that a time cannot choose."""
    where = Filter(cameras=selector.cameras, sources=selector.sources)
    if selector.sightings is None:
        found = store.tracklets(where)
    else:
        found = store.get_tracklets(sorted(set(selector.sightings)), embeddings=False)
        found = store.chain_tracklets(sorted({one.chain for one in found}))
        cameras, sources = selector.cameras, selector.sources
        found = [
            one
            for one in found
            if (cameras is None or one.camera in cameras)
            and (sources is None or one.source in sources)
        ]
    bounds = [one for one in (selector.before, selector.after) if one is not None]
    if not bounds:
        return found, 0
    is_date = bounds[0] >= CALENDAR_FROM
    if any((bound >= CALENDAR_FROM) != is_date for bound in bounds):
        raise InputError("delete: before and after have different clocks; expected two dates")
    before = math.inf if selector.before is None else selector.before
    after = -math.inf if selector.after is None else selector.after
    timed = [one for one in found if _is_on_clock(one, is_date)]
    chosen = [one for one in timed if one.last < before and one.first > after]  # type: ignore[operator]
    return chosen, len(found) - len(timed)


def _is_on_clock(tracklet: Tracklet, is_date: bool) -> bool:
    """Return whether both times are dates, or both are times within a video."""
    times = tracklet.first, tracklet.last
    return all(time is not None and (time >= CALENDAR_FROM) == is_date for time in times)
