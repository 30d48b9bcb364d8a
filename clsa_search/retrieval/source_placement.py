"""Time and camera of files, found by their options."""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from itertools import groupby
from pathlib import Path

from clsa_search.errors import InputError
from clsa_search.gallery import Placement
from clsa_search.retrieval.placement_options import (
    CameraRule,
    PlacementOptions,
    parse_camera_rule,
)
from clsa_search.retrieval.start_times import StartTime, find_start_time
from clsa_search.retrieval.time_rules import TimeRule
from clsa_search.retrieval.video import measure_length


def find_camera(path: str, rule: CameraRule) -> str:
    """Return the camera of a file by a rule.

    Raises:
        InputError: the file has no such name.
    """
    if rule.level:
        folders = Path(path).parents
        name = folders[rule.level - 1].name if rule.level <= len(folders) else ""
        if not name:
            raise InputError(
                f"{path}: has no folder {rule.level} above it; expected a path with a camera's name"
            )
        return name
    name = Path(path).stem
    match = re.search(rule.pattern, name)
    found = match and next(filter(None, match.groups() or [match[0]]), "")
    if not found:
        raise InputError(
            f"{path}: {name!r} does not match {rule.pattern!r}; expected a name with a camera"
        )
    return found


def place_files(
    images: Sequence[str], videos: Sequence[str], options: PlacementOptions
) -> tuple[dict[str, Placement], list[tuple[str, str]]]:
    """Find camera and start time of files.

    Args:
        images: paths of images.
        videos: paths of videos.
        options: the rules.

    Returns:
        Placements by path, and (path, reason) of the files without one.
    """
    camera_rule = parse_camera_rule(options.camera_from)
    placements, problems = {}, []
    times = _find_times(images, videos, options)
    for path, time in times.items():
        try:
            if isinstance(time, InputError):
                raise time
            camera = find_camera(path, camera_rule) if camera_rule else options.camera
        except InputError as error:
            problems.append((path, str(error)))
        else:
            placements[path] = Placement(camera, *time)
    return placements, problems


def _find_times(
    images: Sequence[str], videos: Sequence[str], options: PlacementOptions
) -> dict[str, StartTime | InputError]:
    """Return the start time of each file, or the reason why there is none."""
    rules, zone = options.parse_time()
    if not rules:
        given = StartTime(options.start_time, None if options.start_time is None else "given")
        times: dict[str, StartTime | InputError] = dict.fromkeys(images, StartTime(None, None))
        times |= dict.fromkeys(videos, given)
    else:
        times = {path: _try(path, rules, zone) for path in [*images, *videos]}
    if options.in_sequence:
        times |= _follow(videos, times, only_first=not rules)
    return times


def _try(path: str, rules: Sequence[TimeRule], zone: tzinfo | None) -> StartTime | InputError:
    try:
        return find_start_time(path, rules, zone)
    except InputError as error:
        return error


def _follow(
    videos: Sequence[str], times: Mapping[str, StartTime | InputError], *, only_first: bool
) -> dict[str, StartTime | InputError]:
    """Return the start times of videos that begin where the one before them ends.

    Args:
        videos: paths of videos.
        times: their own start times, or the reasons why there are none.
        only_first: own start times count for the first video of each folder only.
    """
    followed: dict[str, StartTime | InputError] = {}
    for _, group in groupby(sorted(videos, key=_sort_key), key=os.path.dirname):
        end: float | InputError | None = None
        for path in group:
            time = times[path]
            is_own = isinstance(time, StartTime) and time.seconds is not None
            if end is not None and (only_first or not is_own):
                time = end if isinstance(end, InputError) else StartTime(end, "sequence")
            followed[path] = time
            if isinstance(time, InputError) or time.seconds is None:
                continue
            length = measure_length(path)
            end = (
                InputError(f"{path}: has an unknown length; expected it for the video after it")
                if length is None
                else time.seconds + length
            )
    return followed


def _sort_key(path: str) -> tuple[str, list[tuple[int, str]]]:
    """Return the folder and the name of a file; numbers in names count as numbers."""
    folder, name = os.path.split(path)
    parts = re.split(r"(\d+)", name)
    return folder, [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]
