"""Rules of start times, as `--time-from` writes them."""

import re
from datetime import timezone, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from clsa_search.errors import InputError

TIME_ORIGINS = ("name", "exif", "container", "mtime", "none")
"""Kinds of rules in `--time-from`; the kind that worked is stored with the source."""

_UTC_ORIGINS = frozenset({"container", "mtime"})
_RULES = re.compile(rf",(?=(?:name:|(?:{'|'.join(TIME_ORIGINS[1:])})(?:,|$)))")
_EXPECTED = "name:PATTERN as name:%Y%m%d_%H%M%S, exif, container, mtime or none, with commas"
_DIGITS = {"Y": 4, "y": 2, "m": 2, "d": 2, "j": 3, "H": 2, "I": 2, "M": 2, "S": 2}
_PARTS = {
    **{name: rf"\d{{{count}}}" for name, count in _DIGITS.items()},
    "f": r"\d{1,6}",
    "b": "[A-Za-z]{3}",
    "B": "[A-Za-z]+",
    "p": "[AaPp][Mm]",
    "z": r"Z|[+-]\d\d:?\d\d",
    "s": r"\d{9,11}",
    "%": "%",
}


class TimeRule(NamedTuple):
    """A way to find the start time of a file.

    Args:
        origin: one of `TIME_ORIGINS`.
        pattern: pattern of `datetime.strptime` within the name of the file, for "name". A pattern
            with a slash is searched in the path. %s stands for POSIX seconds.
    """

    origin: str
    pattern: str = ""


def parse_zone(name: str) -> tzinfo:
    """Return a time zone such as "Europe/Berlin" or "UTC".

    Raises:
        InputError: the name is unknown.
    """
    if name == "UTC":  # known on systems without a table of zones too
        return timezone.utc
    try:
        return ZoneInfo(name)
    except Exception as error:  # also of names that are no file
        raise InputError(
            f"timezone: {name!r} is unknown; expected a name as Europe/Berlin or UTC"
        ) from error


def parse_time_rules(text: str, zone: tzinfo | None = None) -> tuple[TimeRule, ...]:
    """Return the rules of a text such as "name:%Y%m%d_%H%M%S,exif,mtime".

    Args:
        text: rules, tried in their order.
        zone: time zone of times without one.

    Raises:
        InputError: a rule is unknown, a pattern has no date, or the rules join local times with
            times in UTC and no zone is given.
    """
    rules = []
    for part in _RULES.split(text):
        origin, has_pattern, pattern = part.partition(":")
        if origin not in TIME_ORIGINS or bool(has_pattern) != (origin == "name"):
            raise InputError(f"time-from: {part!r}; expected {_EXPECTED}")
        if origin == "name":
            compile_pattern(pattern)
        rules.append(TimeRule(origin, pattern))
    local = [one for one in rules if _is_local(one)]
    in_utc = [one for one in rules if one.origin in _UTC_ORIGINS]
    if zone is None and local and in_utc:
        raise InputError(
            f"time-from: {in_utc[0].origin} has times in UTC, but {local[0].origin} has local "
            "times; expected --timezone with their zone, as Europe/Berlin"
        )
    return tuple(rules)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the expression of a pattern of `strptime`.

    Raises:
        InputError: the pattern has an unknown or a repeated part, or no date.
    """
    place = f"time-from: name:{pattern}"
    pieces, found = [], []
    for literal, directive in re.findall(r"([^%]+)|%(.?)", pattern):
        if literal:
            pieces.append(re.escape(literal))
        elif directive not in _PARTS:
            known = " ".join(f"%{name}" for name in _PARTS)
            raise InputError(f"{place}: %{directive} is unknown; expected {known}")
        else:
            found.append(directive)
            pieces.append(f"({_PARTS[directive]})" if directive == "s" else _PARTS[directive])
    names = [name for name in found if name != "%"]
    if len(set(names)) < len(names):
        raise InputError(f"{place}: has a part twice; expected each part once")
    if ("I" in names) != ("p" in names) or {"H", "I"} <= set(names):
        raise InputError(f"{place}: expected %I (1 to 12) with %p (AM, PM), or %H alone")
    day = "j" in names or ("d" in names and bool({"m", "b", "B"} & set(names)))
    if "s" in names:
        if names != ["s"]:
            raise InputError(f"{place}: %s is a whole time; expected no other part beside it")
    elif not day or not {"Y", "y"} & set(names):
        raise InputError(f"{place}: has no whole date; expected year, month and day")
    # digits before and after belong to another number
    before = r"(?<!\d)" if pattern[0] == "%" != pattern[1:2] else ""
    after = r"(?!\d)" if pattern[-2:-1] == "%" != pattern[-1] else ""
    return re.compile(before + "".join(f"(?:{p})" for p in pieces) + after)


def _is_local(rule: TimeRule) -> bool:
    return rule.origin == "exif" or (
        rule.origin == "name" and not {"z", "s"} & set(re.findall("%(.)", rule.pattern))
    )
