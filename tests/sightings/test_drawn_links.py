"""Linking detections drawn by hand: they join sightings of the others and never change them."""

from dataclasses import replace

import numpy as np
import pytest

from clsa_search.gallery import Filter, GalleryImage
from clsa_search.sightings.source_links import link_source
from clsa_search.structures import ImageDetections
from tests.support.link_cases import HEIGHT, look, make_clip
from tests.support.store_cases import new_store

ANN, BOB, EVE = look(1, 0, 0.1), look(0, 1, 0.1), look(0, 0, -0.1, 1)
PATH = "clip.mp4"


def walk(seconds):
    """Ann walks all the time but for the seconds 10 to 12; Bob stands far away."""
    return [(3000.0, BOB), *([] if 10 <= seconds < 12 else [(40 * seconds, ANN)])]


def draw(store, frame, center, embedding):
    """Store a drawn box and link its file; return the id of the detection and of its sighting."""
    box = np.array([[center - HEIGHT / 4, 0, center + HEIGHT / 4, HEIGHT]], np.float32)
    found = ImageDetections(box, np.ones(1, np.float32), embedding[None])
    (number,) = store.add([GalleryImage(PATH, found, frame, float(frame), "door", "hand")])
    link_source(store, PATH)
    return int(number), store.find_tracklets([int(number)])[0]


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path / "gallery.db") as store:
        store.add(make_clip(walk, PATH, 30, 0.0))
        link_source(store, PATH)
        yield store


def list_members(store, *, drawn=True):
    """Return the ids of the detections of each sighting."""
    members = {
        one.tracklet_id: store.tracklet_detections(one.tracklet_id) for one in tracklets(store)
    }
    return {
        number: [one.detection_id for one in inside if drawn or one.origin != "hand"]
        for number, inside in members.items()
    }


def tracklets(store):
    return store.tracklets(Filter(sources=[PATH]))


def test_a_missed_frame_joins_the_sighting_around_it(store):
    before = list_members(store)
    ann, bob = [one.tracklet_id for one in tracklets(store)][1], min(before)
    number, sighting = draw(store, 10, 400.0, ANN)
    assert sighting == ann != bob
    assert list_members(store) == {**before, ann: [*before[ann], number]}
    link_source(store, PATH)  # once more is the same
    assert list_members(store) == {**before, ann: [*before[ann], number]}
    store.delete_detections([number])
    link_source(store, PATH)
    assert list_members(store) == before


def test_somebody_else_becomes_a_sighting(store):
    before = list_members(store)
    first, sighting = draw(store, 5, 1500.0, EVE)
    assert sighting == first  # nobody is there
    second, sighting = draw(store, 6, 1510.0, EVE)
    assert sighting == first and list_members(store) == {**before, first: [first, second]}
    # another person at Ann's place, in her gap; and her again in a frame in which she has a box
    third, sighting = draw(store, 11, 440.0, EVE)
    assert sighting == third
    fourth, sighting = draw(store, 20, 830.0, ANN)
    assert sighting == fourth
    assert list_members(store, drawn=False) == {**before, first: [], third: [], fourth: []}


def test_a_frame_before_a_sighting_joins_it(store):
    before = list_members(store)
    store.delete_detections([one for one in store.list_members([min(before)])])
    link_source(store, PATH)
    (ann, *_) = before.keys() - {min(before)}
    store.add([replace(make_clip(walk, PATH, 1, 0.0)[0], frame=40, time=40.0)])
    link_source(store, PATH)
    number, sighting = draw(store, 39, 3000.0, BOB)
    (found,) = [one for one in tracklets(store) if one.tracklet_id == sighting]
    assert (found.first_frame, found.last_frame, found.detections) == (39, 40, 2)
    assert sighting < number


def test_drawn_boxes_change_no_limits_of_others(store):
    before = list_members(store)
    for frame in range(30):  # as alike as no two people of the clip
        draw(store, frame, 2000.0 + 100 * (frame % 2), BOB)
    after = list_members(store, drawn=False)
    assert {number: ids for number, ids in after.items() if ids} == before


def test_a_drawn_box_with_the_lowest_id_does_not_end_the_chain_of_clips(tmp_path):
    """It was drawn before its file was indexed again; its frame is not the first one."""
    start = 1.8e9
    with new_store(tmp_path / "gallery.db") as store:
        store.add(make_clip(lambda time: [(40 * (time - start), ANN)], "a.mp4", 30, start, "door"))
        images = make_clip(
            lambda time: [(40 * (time - start), ANN)], "b.mp4", 30, start + 30, "door"
        )
        store.add([replace(images[-1], origin="hand"), *images[:-1]])
        for path in ("a.mp4", "b.mp4", "a.mp4"):
            link_source(store, path)
        one, other = store.tracklets()
        assert (one.detections, other.detections) == (30, 30)
        assert one.chain == other.chain == one.tracklet_id
