"""What was looked at: footage and gaps of each camera."""

import pytest

from clsa_search.sightings.coverage import CameraCoverage, Footage, find_coverage


def test_spans_and_gaps_by_hand():
    footage = [
        Footage("north", 100, 160),
        Footage("north", 0, 60),
        Footage("north", 62, 90),  # 2 s later: no gap
        Footage("south", 50, 120),
        Footage("south", None, None),
    ]
    assert find_coverage(footage) == [
        CameraCoverage("north", ((0, 90), (100, 160)), ((90, 100),), 0),
        CameraCoverage("south", ((50, 120),), ((0, 50), (120, 160)), 1),
    ]


def test_the_question_cuts_spans():
    (north,) = find_coverage([Footage("north", 0, 60)], since=30, until=200)
    assert north == CameraCoverage("north", ((30, 60),), ((60, 200),), 0)


def test_a_camera_without_footage_in_the_question_is_one_gap():
    (north,) = find_coverage([Footage("north", 0, 60)], since=100, until=200)
    assert north == CameraCoverage("north", (), ((100, 200),), 0)


def test_nested_files_are_one_span():
    (yard,) = find_coverage([Footage(None, 0, 100), Footage(None, 20, 30), Footage(None, 90, 120)])
    assert yard == CameraCoverage(None, ((0, 120),), (), 0)


@pytest.mark.parametrize("footage", [[], [Footage("a", None, None)], [Footage("a", 5, 5)]])
def test_little_footage_is_no_error(footage):
    for one in find_coverage(footage):
        assert one.gaps == ()
