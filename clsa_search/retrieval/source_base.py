"""The clock of a source: seconds within its file and times of its detections."""

import re

from clsa_search.gallery import Source

_GIVEN_START = re.compile(r" \d[\d.e+-]*/s from ([-+.\de]+)")


def find_base(source: Source) -> float:
    """Return the time of the first frame as the times of the detections count it.

    Galleries of earlier versions have a given start in the fingerprint only.
    """
    if source.start is not None:
        return source.start
    given = _GIVEN_START.search(source.fingerprint or "")
    return float(given[1]) if given else 0.0


def seconds_in_file(source: Source, time: float) -> float:
    """Return the seconds from the first frame of a source to the time of a detection."""
    return max(0.0, time - find_base(source))
