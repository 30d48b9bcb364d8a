"""Times as text: read from users and written for them."""

import time

import pytest

from clsa_search.errors import InputError
from clsa_search.retrieval.time_format import format_time, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(
            ("90", 90),
            ("1:30", 90),
            ("0:01:30.5", 90.5),
            ("-5", -5),
            ("-1:30", -90),
            ("100:00:00", 360_000),
        ),
        ("2026-05-01T12:00:30+00:00", 1777636830),
        ("2026-05-01T12:00:30.5Z", 1777636830.5),
    ],
)
def test_times_are_read(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "1:2:3:4", "1:x", "nan", "-inf", "1e999"),
        *("1:75", "1:60:00", "1:-30", "1: 30", "1_0", "\u0661", "--5", "1:2:", ":5"),
        *("1969-01-01", "0001-01-01T00:00"),
        *("2026-13-01", "2026-05", "2026-123", "2026-W18"),
    ],
)
def test_other_times_are_refused(text):
    with pytest.raises(InputError, match="time: .*; expected seconds"):
        parse_time(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0:00:00.0"),
        (59.96, "0:01:00.0"),
        (3725.44, "1:02:05.4"),
        (360_000, "100:00:00.0"),
        (-1.5, "-0:00:01.5"),
        (-0.01, "0:00:00.0"),
        (1e300, "1e+300 s"),
    ],
)
def test_times_of_a_video_are_written(seconds, text):
    assert format_time(seconds) == text


@pytest.fixture
def in_berlin(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def test_times_of_the_calendar_are_local(in_berlin):
    assert format_time(1_760_000_000.0) == "2025-10-09 10:53:20 CEST"
    assert format_time(1e8) == "1973-03-03 10:46:40 CET"
