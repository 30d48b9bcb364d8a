"""Linking of detections: cases worked by hand."""

import numpy as np
import pytest

from clsa_search.sightings.linking import Limits, LinkInput, find_limits, link, match_ends
from tests.support.link_cases import look, make_crowd, make_input

ANN, BOB = look(1, 0, 0.1), look(0, 1, 0.1)


def link_rows(rows, **options):
    """Return the tracklet of each row as letters, in the order of frames."""
    labels = link(make_input(rows, **options))
    return "".join("abcdefgh"[label] for label in labels)


def test_a_walking_person_is_one_tracklet():
    assert link_rows([(frame, 150 * frame, ANN) for frame in range(4)]) == "aaaa"


def test_nobody_moves_farther_than_a_person_can():
    # half a height of error and 1.5 heights a second: 200 pixels
    assert link_rows([(0, 0, ANN), (1, 199, ANN)]) == "aa"
    assert link_rows([(0, 0, ANN), (1, 201, ANN)]) == "ab"
    assert link_rows([(0, 0, ANN), (2, 349, ANN)]) == "aa"


def test_a_tracklet_ends_after_three_seconds():
    assert link_rows([(0, 0, ANN), (3, 0, ANN)]) == "aa"
    assert link_rows([(0, 0, ANN), (4, 0, ANN)]) == "ab"


def test_crossing_people_keep_their_tracklets():
    """They change places between two frames: positions alone would exchange them."""
    rows = [(0, 0, ANN), (0, 120, BOB), (1, 60, ANN), (1, 70, BOB), (2, 130, ANN), (2, 0, BOB)]
    assert link_rows(rows) == "ababab"


def test_a_gap_of_one_person_is_bridged_beside_another():
    rows = [(0, 0, ANN), (0, 300, BOB), (1, 290, BOB), (2, 100, ANN), (2, 300, BOB)]
    assert link_rows(rows) == "abbab"


def test_another_person_at_the_same_place_is_another_tracklet():
    assert link_rows([(0, 0, ANN), (1, 0, ANN), (2, 0, BOB), (3, 0, BOB)]) == "aabb"


def test_twins_of_one_frame_are_two_tracklets():
    """Nothing but the place tells them apart."""
    rows = [(frame, place, ANN) for frame in range(3) for place in (0 + 10 * frame, 150)]
    assert link_rows(rows) == "ababab"


def test_uniforms_far_apart_are_not_exchanged():
    rows = [
        (frame, 100 * k + 5 * frame, look(1, 0, 0.01 * k)) for frame in range(5) for k in (0, 3)
    ]
    assert link_rows(rows) == "ababababab"


def test_a_child_beside_an_adult_is_another_person():
    rows = make_input([(0, 0, ANN), (1, 0, ANN)])
    boxes = rows.boxes.copy()
    boxes[1, 1] = 60  # 40 pixels high
    assert link(LinkInput(rows.frames, rows.times, boxes, rows.embeddings)).tolist() == [0, 1]


def test_photographs_are_never_linked():
    rows = make_input([(0, 0, ANN), (0, 0, ANN), (0, 200, ANN)])
    images = LinkInput(np.full(3, -1), np.full(3, np.nan), rows.boxes, rows.embeddings)
    assert link(images).tolist() == [0, 1, 2]


def test_nothing_is_linked_without_detections():
    empty = LinkInput(np.empty(0, int), np.empty(0), np.empty((0, 4)), np.empty((0, 8), np.float32))
    assert link(empty).shape == (0,)
    assert find_limits(empty) == find_limits(make_input([(0, 0, ANN)]))


def test_unknown_times_count_frames():
    rows = [(0, 0, ANN), (25, 150, ANN), (50, 300, ANN), (150, 300, ANN)]
    assert link_rows(rows, timed=False) == "aaab"


@pytest.mark.parametrize("noise", [0.2, 0.4, 0.5])
def test_limits_come_from_people_of_one_frame(noise):
    rows, owners = make_crowd(noise=noise)
    detections = make_input(rows)
    limits = find_limits(detections)
    similarities = detections.embeddings @ detections.embeddings.T
    others = similarities[owners[:, None] != owners]
    assert limits.relaxed < limits.strict < limits.far
    assert 0.002 < (others > limits.strict).mean() < 0.02  # of 560 pairs: about 0.01
    labels = link(detections)
    assert all(len(set(labels[owners == person])) == 1 for person in range(8))
    assert len(set(labels)) == 8


def test_the_limit_rises_with_the_gap():
    """Within a second overlap counts less and less; later more people could have come."""
    limits = Limits(0.6, 0.5, 0.8)
    gaps = np.array([0.0, 0.5, 1.0, 2.0, 3.0])
    apart, over = (limits.find_lowest(gaps, np.full(5, one)) for one in (False, True))
    assert apart == pytest.approx([0.6, 0.6, 0.6, 0.7, 0.8])
    assert over == pytest.approx([0.5, 0.55, 0.6, 0.7, 0.8])


def test_after_a_gap_a_person_must_look_more_alike():
    """A link of 0.65: above the limit of 0.6 up to a second, and below that of 0.7 at three."""
    changed = look(0.65, np.sqrt(1 - 0.65**2))
    assert link_rows([(0, 0, look(1)), (1, 0, changed)]) == "aa"
    assert link_rows([(0, 0, look(1)), (3, 0, changed)]) == "ab"


def test_overlapping_boxes_of_a_frame_tell_nothing():
    """They may be two detections of one person."""
    rows = [(frame, place, ANN) for frame in range(300) for place in (0, 5)]
    assert find_limits(make_input(rows)) == find_limits(make_input(rows[:1]))


def test_a_tracklet_of_two_people_is_cut_once():
    """Ann becomes Bob so slowly that every link is good."""
    rows, _ = make_crowd()
    angles = np.linspace(0, np.pi / 2, 29)
    mixed = [(i, -5000.0, look(np.cos(a), np.sin(a))) for i, a in enumerate(angles)]
    labels = link(make_input([*rows, *mixed]))
    places = make_input([*rows, *mixed]).boxes[:, 0] < -4000
    assert len(set(labels[places])) == 2
    assert (np.diff(labels[places]) != 0).sum() == 1


def test_ends_of_a_clip_match_the_begins_of_the_next():
    ends = make_input([(0, 0, ANN), (0, 500, BOB)])
    begins = make_input([(1, 480, BOB), (1, 100, ANN), (1, 5000, ANN)])
    assert sorted(match_ends(ends, begins, Limits(0.6, 0.5, 0.7))) == [(0, 1), (1, 0)]


def test_the_result_does_not_depend_on_the_order_in_a_frame():
    rows, owners = make_crowd(noise=0.5)
    order = np.lexsort((np.random.default_rng(0).random(len(rows)), [row[0] for row in rows]))
    labels = link(make_input([rows[i] for i in order]))
    assert all(len(set(labels[owners[order] == person])) == 1 for person in range(8))
