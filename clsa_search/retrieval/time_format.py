"""Times of detections: seconds within a video, or POSIX time of the calendar."""

import re
from datetime import datetime, tzinfo

from dateutil.parser import isoparse

from clsa_search.errors import InputError

CALENDAR_FROM = 1e8
"""Smallest POSIX time in seconds; lower values are times within a video."""

CALENDAR_TO = 2.534e11
"""Largest POSIX time: later ones lie beyond the year 9999."""

_CLOCK = re.compile(r"(-?)(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d{1,15}(?:\.\d{0,9})?)", re.ASCII)


def parse_time(text: str, zone: tzinfo | None = None) -> float:
    """Return seconds from "90", "1:30", "0:01:30.5" or a date such as "2026-05-01T12:00:30".

    Args:
        text: text of a user. Dates become POSIX time.
        zone: time zone of dates without one; by default that of this machine.

    Raises:
        InputError: the text has another form.
    """
    try:
        if "-" in text[1:]:
            if not re.match(r"\d{4}-\d\d-\d\d(\D|$)", text):
                raise ValueError("not a whole date")
            date = isoparse(text)  # datetime.fromisoformat of Python 3.10 reads less
            seconds = (date if date.tzinfo else date.replace(tzinfo=zone)).timestamp()
            if seconds < CALENDAR_FROM:  # it would be taken for a time within a video
                raise ValueError("a date before 1974")
            return seconds
        found = _CLOCK.fullmatch(text)
        if found is None:
            raise ValueError("neither seconds nor h:mm:ss")
        parts = [float(part) for part in found.groups()[1:] if part is not None]
        if any(part >= 60 for part in parts[1:]):
            raise ValueError("60 minutes or seconds, or more")
        total = 0.0
        for part in parts:
            total = 60 * total + part
        return -total if found[1] else total
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(
            f"time: {text!r}; expected seconds, h:mm:ss, or a date from 1974 on, as "
            "2026-05-01T12:00:30"
        ) from error


def format_time(seconds: float | None) -> str:
    """Return h:mm:ss.s within a video, or local date and time; nothing for None."""
    if seconds is None:
        return ""
    if seconds >= CALENDAR_FROM:
        try:
            return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S %Z}"
        except (OverflowError, ValueError, OSError):  # beyond the calendar
            return f"{seconds:g} s"
    tenths = round(abs(seconds) * 10)
    sign = "-" if seconds < 0 and tenths else ""
    minutes, tenths = divmod(tenths, 600)
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{tenths // 10:02}.{tenths % 10}"
