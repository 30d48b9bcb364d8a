"""What a user says of times and boxes, in words."""

import pytest

from clsa_search.errors import InputError
from clsa_search.retrieval.query_selection import join_negatives, parse_box, parse_time


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
        *("2026-13-01", "2026-05", "2026-123", "2026-W18"),
    ],
)
def test_other_times_are_refused(text):
    with pytest.raises(InputError, match="time: .*; expected seconds"):
        parse_time(text)


def test_boxes_are_four_numbers():
    assert parse_box("1,2.5,30,4e1", "a.jpg").tolist() == [1, 2.5, 30, 40]


def test_what_is_below_0_belongs_to_the_option_before_it():
    words = ["--box", "-5,61", "--since", "-.5", "--until", "--json", "--top", "-5", "-x"]
    assert join_negatives(words) == ["--box=-5,61", "--since=-.5", *words[4:]]
