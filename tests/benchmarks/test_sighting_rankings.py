"""Rankings of frames and of sightings have the same positives."""

import numpy as np
import pytest

from benchmarks.sightings.rankings import CameraClip, compare_rankings, rank_visit
from tests.support.link_cases import look


def make_clip(rows, sightings):
    """Return a clip of (person, embedding) rows and of the rows of sightings."""
    owners = np.array([person for person, _ in rows])
    embeddings = np.stack([embedding for _, embedding in rows])
    members = [np.array(one) for one in sightings]
    pooled = np.stack([embeddings[one].mean(0) for one in members])
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    holders = np.array([np.bincount(owners[one]).argmax() for one in members])
    return CameraClip(embeddings, owners, pooled, members, holders)


def test_a_visit_counts_once_however_many_frames_it_has():
    """Two strangers look more alike, one of them in nine frames."""
    rows = [(1, look(1, 0.1))] * 9 + [(2, look(1, 0.2))] + [(0, look(1, 0.3))] * 4
    clip = make_clip(rows, [range(9), [9], range(10, 14)])
    found = rank_visit(look(1), 0, clip)
    assert found == pytest.approx({"frames": 1 / 3, "sightings": 1 / 3, "rescored": 1 / 3})


def test_a_person_without_a_sighting_of_its_own_is_not_found():
    rows = [(1, look(0, 1)), (1, look(0, 1)), (0, look(1))]
    clip = make_clip(rows, [[0, 1, 2]])
    assert rank_visit(look(1), 0, clip) == {"frames": 1.0, "sightings": 0.0, "rescored": 0.0}


def test_the_best_sighting_of_a_visit_counts():
    rows = [(0, look(0, 1)), (0, look(1)), (1, look(1, 1))]
    clip = make_clip(rows, [[0], [1], [2]])
    assert compare_rankings([clip, clip])["mAP sightings"] == pytest.approx(1.0)
