"""Tracklets of linked detections: embedding, best detection, purity."""

import numpy as np
import pytest

from clsa_search.gallery import StoredDetection
from clsa_search.sightings.pooling import make_tracklets
from tests.support.link_cases import look


def detect(number, frame, embedding, *, height=200.0, score=0.9, left=0.0):
    box = left, 0.0, left + height / 2, height
    return StoredDetection(number, "v.mp4", frame, frame / 2, "door", box, score, embedding)


def test_detections_weigh_by_how_well_they_show_the_person():
    """Scores of 0.9 and 0.6; the third has half of the full height."""
    detections = [
        detect(1, 0, look(1, 0, 0)),
        detect(2, 2, look(0, 1, 0), score=0.6),
        detect(3, 4, look(0, 0, 1), height=64.0),
    ]
    (tracklet,), _ = make_tracklets(detections, np.zeros(3, int))
    assert tracklet.embedding == pytest.approx(look(0.9, 0.6, 0.45))


def test_a_tracklet_states_its_span_and_its_purity():
    one, other = look(1, 0), look(0, 1)
    detections = [
        detect(4, 0, one),
        detect(5, 2, other, score=0.95),
        detect(6, 3, one, height=64.0),
        detect(7, 3, look(0, 0, 1), left=900.0),
    ]
    (first, second), members = make_tracklets(detections, np.array([0, 0, 0, 1]))
    assert members == [[4, 5, 6], [7]]
    assert (first.tracklet_id, first.chain, first.detections, first.best) == (4, 4, 3, 5)
    assert (first.first, first.last, first.first_frame, first.last_frame) == (0.0, 1.5, 0, 3)
    assert first.score == 0.95
    assert first.embedding == pytest.approx(look(0.9 + 0.45, 0.95))
    assert first.purity == pytest.approx(0.95 / np.hypot(1.35, 0.95))
    assert (second.purity, second.detections, second.best) == (pytest.approx(1), 1, 7)
    assert make_tracklets([], np.empty(0, int)) == ([], [])


def test_covered_and_small_people_are_not_shown():
    look_one = look(1, 0)
    free, covered = detect(1, 0, look_one), detect(2, 4, look_one, score=0.99)
    cover = detect(3, 4, look(0, 1), left=5.0)
    small = detect(4, 8, look_one, height=40.0, score=0.99)
    (tracklet, _), _ = make_tracklets([free, covered, cover, small], np.array([0, 0, 1, 0]))
    assert tracklet.best == 1


def test_opposite_embeddings_have_a_tracklet_too():
    detections = [detect(1, 0, look(1)), detect(2, 4, look(-1))]
    (tracklet,), _ = make_tracklets(detections, np.array([0, 0]))
    assert np.linalg.norm(tracklet.embedding) == pytest.approx(1)
