"""The benchmarks of sightings run on small cases with known answers."""

import numpy as np
import pytest

from benchmarks.sightings import street
from benchmarks.speed import large_gallery
from benchmarks.strangers.street_strangers import Sighted
from clsa_search.gallery import open_store
from tests.support.link_cases import look


def test_a_large_gallery_is_linked_as_it_was_made(tmp_path):
    path = tmp_path / "large.db"
    for step in (large_gallery.make, large_gallery.link):
        assert step(path, 200, 64) == {}
    with open_store(path) as store:
        assert (store.count(), store.count_tracklets()) == (2000, 200)
        assert {one.detections for one in store.tracklets()} == {10}
    assert all(value > 0 for value in large_gallery.list_sightings(path, 200, 64).values())


@pytest.mark.parametrize("rate", street.RATES)
def test_people_of_street_frames_are_followed_and_found(rate):
    rng = np.random.default_rng(0)
    people = [
        Sighted("square", frame, str(person), (200.0 * person, 0, 200.0 * person + 50, 150), seen)
        for frame in range(1, 7)
        for person in range(8)
        for seen in [look(*(np.eye(8)[person] + 0.05 * rng.standard_normal(8)))]
    ]
    found = street.measure(people, rate)
    assert found["IDF1"] == found["purity"] == found["people per tracklet"] == 1.0
    assert found["detections per tracklet"] == 5.0  # the first frame holds the queries
    assert found["mAP frames"] == found["mAP sightings"] == found["mAP rescored"] == 1.0
