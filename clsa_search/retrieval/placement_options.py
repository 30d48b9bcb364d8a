"""Time and camera of files: the options that tell them.

A placement says where and when a file begins. It needs no model, so it may change later.
"""

import re
from dataclasses import dataclass
from datetime import tzinfo
from typing import NamedTuple

from clsa_search.errors import InputError
from clsa_search.retrieval.time_rules import TimeRule, parse_time_rules, parse_zone

_EXPECTED_CAMERA = "folder, parent:N as parent:2, or name:REGEX as name:^(cam[0-9]+)_"


@dataclass(frozen=True, kw_only=True)
class PlacementOptions:
    """Options of `place_files`.

    Args:
        camera: camera name of all files.
        start_time: seconds of the first frame of each video.
        time_from: rules of start times, see :func:`parse_time_rules`; "" for none.
        zone: name of the time zone of times without one; by default that of this machine.
        camera_from: "folder", "parent:N" or "name:REGEX"; "" for none.
        in_sequence: the videos of a folder follow each other, in the order of their names. A video
            without its own time begins where the one before it ends.

    Raises:
        InputError: a rule is malformed, or two options contradict each other.
    """

    camera: str | None = None
    start_time: float | None = None
    time_from: str = ""
    zone: str = ""
    camera_from: str = ""
    in_sequence: bool = False

    def __post_init__(self) -> None:
        for one, other, names in (
            (self.camera is not None, bool(self.camera_from), ("camera", "camera-from")),
            (self.start_time is not None, bool(self.time_from), ("start-time", "time-from")),
        ):
            if one and other:
                raise InputError(f"{names[1]}: is given with {names[0]}; expected one of the two")
        if self.camera is not None and not self.camera.strip():
            raise InputError(f"camera: {self.camera!r} is empty; expected a name")
        if self.zone and not self.time_from:
            raise InputError(
                "timezone: is given without time-from or a start; expected one of them"
            )
        if self.in_sequence and self.start_time is None and not self.time_from:
            raise InputError("in-sequence: the first video has no time; expected --time-from")
        self.parse_time()
        parse_camera_rule(self.camera_from)

    def parse_time(self) -> tuple[tuple[TimeRule, ...], tzinfo | None]:
        """Return the rules of start times and their time zone."""
        zone = parse_zone(self.zone) if self.zone else None
        return (parse_time_rules(self.time_from, zone) if self.time_from else ()), zone


class CameraRule(NamedTuple):
    """A way to find the camera of a file.

    Args:
        level: number of the folder above the file, 1 is its own; 0 for the name.
        pattern: expression within the name of the file; its first group is the camera.
    """

    level: int
    pattern: str = ""


def parse_camera_rule(text: str) -> CameraRule | None:
    """Return the rule of a text such as "folder", "parent:2" or "name:^(cam[0-9]+)_".

    Raises:
        InputError: the text has another form.
    """
    if not text:
        return None
    if text == "folder":
        return CameraRule(1)
    kind, _, value = text.partition(":")
    if kind == "parent" and re.fullmatch(r"[1-9]\d?", value):
        return CameraRule(int(value))
    if kind == "name" and value:
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError) as error:
            raise InputError(
                f"camera-from: {text!r}: {error}; expected a regular expression"
            ) from error
        return CameraRule(0, value)
    raise InputError(f"camera-from: {text!r}; expected {_EXPECTED_CAMERA}")
