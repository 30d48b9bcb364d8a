"""Start times of files: from their names, their metadata, or the file system."""

import os
import re
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from pathlib import PurePath
from typing import NamedTuple

from PIL import Image

from clsa_search.data.image_io import IMAGE_FORMATS
from clsa_search.errors import InputError
from clsa_search.retrieval.container_times import read_creation_time
from clsa_search.retrieval.source_files import VIDEO_SUFFIXES
from clsa_search.retrieval.time_format import CALENDAR_FROM
from clsa_search.retrieval.time_rules import TimeRule, compile_pattern
from clsa_search.retrieval.video import measure_length

_EXIF, _TAKEN, _TAKEN_OFFSET = 0x8769, 0x9003, 0x9011


class StartTime(NamedTuple):
    """Start of a file.

    Args:
        seconds: POSIX time of its first frame; None if unknown.
        origin: kind of the rule that found it; None if unknown.
    """

    seconds: float | None
    origin: str | None


def find_start_time(path: str, rules: Sequence[TimeRule], zone: tzinfo | None = None) -> StartTime:
    """Find the start time of an image or a video by the first rule that works.

    Args:
        path: file.
        rules: see `parse_time_rules`.
        zone: time zone of times without one; by default that of this machine.

    Raises:
        InputError: no rule works; the message names the reason of each.
    """
    reasons = []
    for rule in rules:
        if rule.origin == "none":
            return StartTime(None, None)
        try:
            seconds = _FINDERS[rule.origin](path, rule, zone)
        except InputError as error:
            reasons.append(f"{rule.origin}: {error}")
            continue
        if seconds >= CALENDAR_FROM:
            return StartTime(seconds, rule.origin)
        reasons.append(f"{rule.origin}: its time lies before the year 1974")
    raise InputError(
        f"{path}: has no start time: {'; '.join(reasons)}; expected a time by --time-from, which "
        "takes files without one if it ends with none"
    )


def _read_name(path: str, rule: TimeRule, zone: tzinfo | None) -> float:
    whole = PurePath(path).with_suffix("")
    text = whole.as_posix() if "/" in rule.pattern else whole.name
    for match in compile_pattern(rule.pattern).finditer(text):
        if match.groups():
            return float(match[1])
        try:
            return _to_seconds(datetime.strptime(match[0], rule.pattern), zone)
        except ValueError:  # no date, as 20269901
            continue
    raise InputError(f"{text!r} does not match {rule.pattern!r}")


def _read_exif(path: str, rule: TimeRule, zone: tzinfo | None) -> float:
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            values = image.getexif().get_ifd(_EXIF)
        text = str(values[_TAKEN]).strip("\0 ")
        offset = str(values.get(_TAKEN_OFFSET, "")).strip("\0 ")
        form = "%Y:%m:%d %H:%M:%S"
        if re.fullmatch(r"[+-]\d\d:\d\d", offset):
            return datetime.strptime(text + offset, f"{form}%z").timestamp()
        return _to_seconds(datetime.strptime(text, form), zone)
    except Exception as error:  # Pillow raises errors of many types for broken EXIF data
        raise InputError("has no DateTimeOriginal that can be read") from error


def _read_container(path: str, rule: TimeRule, zone: tzinfo | None) -> float:
    try:
        created = read_creation_time(path)
    except Exception as error:  # any fault of the bytes is the file's
        raise InputError(f"cannot be read: {error}") from error
    if created is None:
        raise InputError("declares no time of creation")
    return _to_seconds(created, zone)


def _read_changed(path: str, rule: TimeRule, zone: tzinfo | None) -> float:
    try:
        changed = os.stat(path).st_mtime
    except OSError as error:
        raise InputError(str(error.strerror)) from error
    is_video = PurePath(path).suffix.lower() in VIDEO_SUFFIXES
    length = measure_length(path) if is_video else None
    return changed - (length or 0.0)  # a recorder writes until the end


def _to_seconds(time: datetime, zone: tzinfo | None) -> float:
    """Return the POSIX time of a time, in `zone` if it has none of its own."""
    try:
        if time.tzinfo is None and zone is not None:
            time = time.replace(tzinfo=zone)
        return time.timestamp()
    except (OverflowError, OSError, ValueError) as error:
        raise InputError(f"{time} lies beyond the calendar") from error


_FINDERS: dict[str, Callable[[str, TimeRule, tzinfo | None], float]] = {
    "name": _read_name,
    "exif": _read_exif,
    "container": _read_container,
    "mtime": _read_changed,
}
