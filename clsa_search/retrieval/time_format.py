"""Times of detections: seconds within a video, or POSIX time of the calendar."""

import math
import re
from datetime import datetime

from dateutil.parser import isoparse

from clsa_search.errors import InputError

CALENDAR_FROM = 1e8
"""Smallest POSIX time in seconds; lower values are times within a video."""


def parse_time(text: str) -> float:
    """Return seconds from "90", "1:30", "0:01:30.5" or a date such as "2026-05-01T12:00:30".

    Dates become POSIX time; without a time zone they are local.

    Raises:
        InputError: the text has another form.
    """
    try:
        if "-" in text[1:]:
            if not re.match(r"\d{4}-\d\d-\d\d(\D|$)", text):
                raise ValueError("not a whole date")
            return isoparse(text).timestamp()  # datetime.fromisoformat of Python 3.10 reads less
        *larger, seconds = text.removeprefix("-").split(":")
        if len(larger) > 2:
            raise ValueError("more than hours, minutes and seconds")
        total = 0.0
        for part in larger:
            total = 60 * (total + int(part))
        total += float(seconds)
        if not math.isfinite(total):
            raise ValueError("not finite")
        return -total if text.startswith("-") else total
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(
            f"time: {text!r}; expected seconds, h:mm:ss, or a date as 2026-05-01T12:00:30"
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
