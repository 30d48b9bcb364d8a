"""What a match means: verdicts on sightings, with the number of strangers as alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Literal

from clsa_search.sightings.user_verdicts import VerdictCounts
from clsa_search.wording import count_noun

Verdict = Literal["very likely", "possible", "as alike as strangers are"]
VERY_LIKELY, POSSIBLE = 0.01, 1.0  # expected strangers; fewer are required
LIMITS = (
    "Re-identification sees clothes and build, not faces: another person in the same clothes looks "
    "the same, and one person in other clothes does not."
)
_CALENDAR_FROM = 1e8  # lower times are times within videos


@dataclass(frozen=True)
class CalibratedMatch:
    """How alike a sighting is to the query, among strangers.

    Args:
        similarity: inner product of the embeddings.
        z: similarity in standard deviations of strangers on its camera; None: not calibrated.
        expected_strangers: number of strangers at least this alike among the sightings searched;
            None: not calibrated.
        is_bound: whether fewer strangers are expected than the number says.
        verdict: meaning of the number; None: not calibrated.
        rejected_like: id of the sighting of somebody else that it looks like; None without.
        probability: chance of the same person by the user's verdicts; None: too few of them, or
            like somebody else.
    """

    similarity: float
    z: float | None = None
    expected_strangers: float | None = None
    is_bound: bool = False
    verdict: Verdict | None = None
    rejected_like: int | None = None
    probability: float | None = None


@dataclass(frozen=True)
class SightingResult:
    """The answer to a search for sightings.

    Args:
        searched: number of sightings that passed the filter.
        calibrated: whether strangers were counted.
        nobody: whether no sighting stands out from strangers; None if not calibrated.
        matches: the matches, best first.
        reason: why it is not calibrated, or why the calibration is out of date; None without.
        uniforms: whether many strangers look like people in uniform.
        verdicts: numbers of the user's verdicts behind the probabilities.
        damage: sentence on damaged verdicts; None without such.
    """

    searched: int
    calibrated: bool
    nobody: bool | None
    matches: Sequence[CalibratedMatch]
    reason: str | None = None
    uniforms: bool = False
    verdicts: VerdictCounts = VerdictCounts()
    damage: str | None = None


def judge(expected_strangers: float) -> Verdict:
    """Return the verdict on a match by its expected strangers."""
    if expected_strangers < VERY_LIKELY:
        return "very likely"
    return "possible" if expected_strangers < POSSIBLE else "as alike as strangers are"


def stands_out(match: CalibratedMatch) -> bool:
    """Return whether a match stands out from strangers and is not somebody else's."""
    return match.verdict in ("very likely", "possible") and match.rejected_like is None


def describe_strangers(match: CalibratedMatch) -> str:
    """Return the expected strangers as short text, such as "0.004" or "<0.8"; empty without."""
    if match.expected_strangers is None:
        return ""
    return ("<" if match.is_bound else "") + format_count(match.expected_strangers)


def describe_chance(match: CalibratedMatch) -> str:
    """Return the probability as short text, such as "71 %" or ">99 %"; empty without."""
    if match.probability is None:
        return ""
    percent = 100 * match.probability
    if not 0.5 <= percent < 99.5:
        return "<1 %" if percent < 50 else ">99 %"
    return f"{percent:.0f} %"


def format_count(count: float) -> str:
    """Return an expected number with the digits that mean something."""
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"


def describe_result(result: SightingResult) -> str:
    """Return the answer as one sentence."""
    here = count_noun(result.searched, "sighting")
    if not result.searched:
        return "There is no sighting to search: none is stored, or none passes the filter."
    if not result.calibrated:
        reason = f" ({result.reason})" if result.reason else ""
        return f"{here} searched; not calibrated{reason}: the order says nothing of how sure it is."
    these = f"this {here[2:]}" if result.searched == 1 else f"these {here}"
    if result.nobody:
        return f"Nobody in {these} stands out."
    count = sum(map(stands_out, result.matches))
    verb = "stands" if count == 1 else "stand"
    return f"{count:,} of {these} {verb} out."


def spans_midnight(
    views: Sequence[float | None], first: float | None, zone: tzinfo | None = None
) -> bool:
    """Return whether a midnight lies between a sighting and all views: clothes may have changed.

    Args:
        views: times of the views of the person in seconds. Unknown times and times within a video
            tell nothing.
        first: time of the sighting.
        zone: time zone of the days; None: that of this machine.
    """
    days = [_find_day(one, zone) for one in (first, *views)]
    seen, known = days[0], [day for day in days[1:] if day is not None]
    return seen is not None and bool(known) and seen not in known


def _find_day(seconds: float | None, zone: tzinfo | None) -> int | None:
    """Return the number of a day of the calendar."""
    if seconds is None or seconds < _CALENDAR_FROM:
        return None
    try:
        return datetime.fromtimestamp(seconds, zone).toordinal()
    except (OverflowError, ValueError, OSError):  # beyond the calendar
        return None
