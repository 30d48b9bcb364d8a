"""New cameras and start times for indexed files, without indexing them again."""

import os
from collections.abc import Collection, Sequence
from typing import NamedTuple

from clsa_search.argument_checks import resolve_path
from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore, Placement, Source
from clsa_search.retrieval.placement_options import PlacementOptions
from clsa_search.retrieval.shift_plans import (
    Changes,
    Problems,
    finish_plan,
    name_request,
    write_plan,
)
from clsa_search.retrieval.source_base import find_base
from clsa_search.retrieval.source_files import VIDEO_SUFFIXES
from clsa_search.retrieval.source_moves import find_source
from clsa_search.retrieval.source_placement import place_files
from clsa_search.retrieval.time_format import CALENDAR_FROM, CALENDAR_TO, format_time
from clsa_search.sightings.source_links import link_sources


class Retimed(NamedTuple):
    """The outcome of `retime`.

    Args:
        changed: the changed sources with their new values.
        problems: (path, reason) of those left as before.
        same: number of sources with these values already.
        is_completed: whether a shift of an interrupted process was completed.
    """

    changed: Changes
    problems: Problems
    same: int
    is_completed: bool = False


def find_sources(sources: Sequence[Source], paths: Sequence[str | os.PathLike]) -> list[Source]:
    """Return the sources at or below some paths, in their order in the gallery.

    Raises:
        InputError: no source lies at or below a path.
    """
    stored = {source.path for source in sources}
    found: set[str] = set()
    for path in paths:
        below = _find_below(find_source(path, stored), resolve_path(path), stored)
        if not below:
            raise InputError(
                f"{os.fspath(path)}: is not indexed, and no indexed file lies below; "
                "expected a file of `list`, or a folder of some"
            )
        found |= below
    return [source for source in sources if source.path in found]


def retime(
    store: GalleryStore,
    paths: Sequence[str | os.PathLike],
    options: PlacementOptions,
    *,
    shift: float = 0.0,
) -> Retimed:
    """Give sources another camera, another start time, or both, and link them again.

    Values without an option stay as they are. The shift of a killed process is completed first;
    if it is the same one, nothing else is done, and no file moves twice.

    Args:
        store: gallery.
        paths: files and folders of the sources to change.
        options: rules of the new values.
        shift: seconds to add to the start times.

    Raises:
        InputError: no source lies at or below a path, or the plan of a shift is damaged.
    """
    asked = name_request([resolve_path(path) for path in paths], options, shift)
    earlier = finish_plan(store)
    if earlier is not None and shift and earlier.asked == asked:
        return Retimed(earlier.changed, earlier.problems, 0, is_completed=True)
    sources = find_sources(store.sources(), paths)
    changes, problems = _plan(sources, options, shift)
    same = len(sources) - len(changes) - len(problems)
    if shift and changes:
        write_plan(store, asked, changes)
        finished = finish_plan(store)
        assert finished is not None
        changed = finished.changed
        problems += finished.problems
    else:
        changed = _apply(store, changes, problems)
    if earlier is not None:
        changed, problems = earlier.changed + changed, earlier.problems + problems
    return Retimed(changed, problems, same, is_completed=earlier is not None)


def _apply(store: GalleryStore, changes: Changes, problems: Problems) -> Changes:
    """Change and link sources; return the changed ones, and add the reasons of the others."""
    changed = []
    for source, placement in changes:
        try:
            store.place(source.path, placement, source.fingerprint, find_base(source))
            changed.append((source, placement))
        except InputError as error:
            problems.append((source.path, str(error)))
    problems += link_sources(store, [source.path for source, _ in changed])
    return changed


def _plan(
    sources: Sequence[Source], options: PlacementOptions, shift: float
) -> tuple[Changes, Problems]:
    """Return the sources to change with their new values, and (path, reason) of the others."""
    videos = [one.path for one in sources if _is_video(one.path)]
    images = [one.path for one in sources if not _is_video(one.path)]
    found, problems = place_files(images, videos, options)
    changes = []
    for source in sources:
        if source.path not in found:
            continue
        try:
            placement = _update(source, found[source.path], options, shift)
        except InputError as error:
            problems.append((source.path, str(error)))
            continue
        if placement != (source.camera, source.start, source.start_from):
            changes.append((source, placement))
    return changes, problems


def _update(source: Source, found: Placement, options: PlacementOptions, shift: float) -> Placement:
    """Return the placement of a source with the values of the options."""
    placement = Placement(source.camera, source.start, source.start_from)
    if options.camera is not None or options.camera_from:
        placement = placement._replace(camera=found.camera)
    if options.start_time is not None or options.time_from:
        placement = placement._replace(start=found.start, start_from=found.start_from)
    if shift:
        if placement.start is None:
            raise InputError(f"{source.path}: has no start time to shift; expected --start")
        start = placement.start + shift
        is_date = placement.start >= CALENDAR_FROM
        if (start >= CALENDAR_FROM) != is_date or start > CALENDAR_TO:
            raise InputError(
                f"{source.path}: shift: {shift:g} s lead from {format_time(placement.start)} "
                "beyond the calendar, or into it; expected fewer seconds"
            )
        placement = placement._replace(start=start, start_from="given")
    return placement


def _find_below(path: str, folder: str, stored: Collection[str]) -> set[str]:
    if path in stored:
        return {path}
    start = os.path.join(folder, "")
    return {one for one in stored if one.startswith(start)}


def _is_video(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES
