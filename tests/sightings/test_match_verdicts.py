"""Verdicts on matches, and the answer as one sentence."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from clsa_search.sightings.match_verdicts import (
    CalibratedMatch,
    SightingResult,
    describe_chance,
    describe_result,
    describe_strangers,
    judge,
    spans_midnight,
)


@pytest.mark.parametrize(
    ("expected", "verdict"),
    [
        (0.0, "very likely"),
        (0.0099, "very likely"),
        (0.01, "possible"),
        (0.99, "possible"),
        (1.0, "as alike as strangers are"),
        (4212.0, "as alike as strangers are"),
    ],
)
def test_verdicts(expected, verdict):
    assert judge(expected) == verdict


def match(expected: float, **fields: object) -> CalibratedMatch:
    return CalibratedMatch(0.9, 3.0, expected, verdict=judge(expected), **fields)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (
            SightingResult(0, True, True, []),
            "There is no sighting to search: none is stored, or none passes the filter.",
        ),
        (
            SightingResult(4212, True, True, [match(3.0)]),
            "Nobody in these 4,212 sightings stands out.",
        ),
        (SightingResult(1, True, True, [match(3.0)]), "Nobody in this sighting stands out."),
        (
            SightingResult(4212, True, False, [match(0.001), match(0.5), match(2.0)]),
            "2 of these 4,212 sightings stand out.",
        ),
        (
            SightingResult(4212, True, False, [match(0.001, rejected_like=7), match(0.5)]),
            "1 of these 4,212 sightings stands out.",
        ),
        (
            SightingResult(12, False, None, [], "3 pairs"),
            "12 sightings searched; not calibrated (3 pairs): the order says nothing of how sure "
            "it is.",
        ),
    ],
)
def test_the_answer_in_a_sentence(result, text):
    assert describe_result(result) == text


@pytest.mark.parametrize(
    ("expected", "is_bound", "text"),
    [
        (0.00412, False, "0.0041"),
        (0.8, True, "<0.8"),
        (12.4, False, "12"),
        (4212.0, False, "4,212"),
        (3.14, False, "3.1"),
    ],
)
def test_expected_strangers_as_text(expected, is_bound, text):
    assert describe_strangers(match(expected, is_bound=is_bound)) == text


def test_without_calibration_there_is_no_number():
    assert describe_strangers(CalibratedMatch(0.9)) == ""


def test_a_midnight_between_query_and_sighting():
    noon = 1_700_000_000 // 86_400 * 86_400 + 43_200.0
    utc, east = timezone.utc, timezone(timedelta(hours=2))
    assert not spans_midnight([noon], noon + 11 * 3600, utc)
    assert spans_midnight([noon], noon + 13 * 3600, utc)
    assert spans_midnight([noon], noon + 11 * 3600, east)
    assert not spans_midnight([noon], noon - 11 * 3600, east)
    assert not spans_midnight([None], noon, utc) and not spans_midnight([], noon, utc)
    assert not spans_midnight([noon], None, utc) and not spans_midnight([noon], 5.0, utc)
    assert not spans_midnight([5.0], noon, utc), "a time within a video is no day"
    assert not spans_midnight([1e15], noon, utc), "nor is one beyond the calendar"


def test_one_view_of_the_same_day_is_enough():
    noon = 1_700_000_000 // 86_400 * 86_400 + 43_200.0
    utc = timezone.utc
    assert spans_midnight([noon, noon + 86_400], noon + 2 * 86_400, utc)
    assert not spans_midnight([noon, noon + 2 * 86_400, None], noon + 2 * 86_400, utc)
    summer = ZoneInfo("Europe/Berlin")  # the night of 2026-03-29 has 23 hours
    begin = datetime(2026, 3, 29, tzinfo=summer).timestamp()
    assert not spans_midnight([begin], begin + 23 * 3600 - 1, summer)
    assert spans_midnight([begin], begin + 23 * 3600, summer)


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (None, ""),
        (0.712, "71 %"),
        (0.996, ">99 %"),
        (0.994, "99 %"),
        (0.004, "<1 %"),
        (0.5, "50 %"),
    ],
)
def test_a_chance_is_never_0_or_100_percent(probability, text):
    assert describe_chance(match(0.5, probability=probability)) == text
