"""Calibration of a stored gallery: reading pairs, storing, following changes."""

import uuid

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryImage, open_store
from clsa_search.retrieval.gallery_calibration import (
    calibrate_gallery,
    choose_moments,
    refresh_calibration,
)
from clsa_search.retrieval.stored_calibration import StrangerCounter, read_calibration
from clsa_search.structures import ImageDetections
from tests.support.photographs import BOXES, WIDTH, add_photographs, unit


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "street.db", weights="w", create=True) as opened:
        yield opened


def test_people_of_one_photograph_are_strangers(store):
    add_photographs(store, 100, camera="north")
    calibration = calibrate_gallery(store)
    assert (calibration.pairs, calibration.concurrent, calibration.tracklets) == (600, 0, 400)
    assert calibration.tail is not None
    assert read_calibration(store) == calibration


def test_the_same_gallery_gives_the_same_calibration(store):
    add_photographs(store, 100, camera="north")
    assert calibrate_gallery(store).tail == calibrate_gallery(store).tail
    assert len(store.notes("calibration")) == 1


def test_few_pairs_are_not_calibrated(store):
    add_photographs(store, 83, camera="north")  # 498 pairs
    calibration = calibrate_gallery(store)
    assert calibration.pairs == 498 and calibration.tail is None
    loaded = StrangerCounter(store).load()
    assert loaded.scale is None
    assert loaded.describe() == "498 pairs of certain strangers, fewer than 500"
    with pytest.raises(InputError, match="is not calibrated: 498 pairs"):
        loaded.count(np.ones(WIDTH), np.ones(1), [None], 9)


def test_an_empty_gallery_is_not_calibrated(store):
    calibration = calibrate_gallery(store)
    assert (calibration.pairs, calibration.tail, calibration.cohort) == (0, None, ())
    assert StrangerCounter(store).load().scale is None


def test_without_a_calibration_the_command_is_named(store):
    add_photographs(store, 2, camera="north")
    reason = StrangerCounter(store).load().describe()
    assert reason == f"`clsa-search calibrate {store.address}` has not run"
    assert read_calibration(store) is None


def test_people_of_one_second_on_cameras_apart_are_strangers(store):
    add_photographs(store, 60, camera="north")
    add_photographs(store, 60, camera="south", seed=1)
    assert calibrate_gallery(store).concurrent == 0
    calibration = calibrate_gallery(store, [["north", "south"]])
    assert calibration.pairs > calibration.concurrent > 500
    assert calibrate_gallery(store).apart == (("north", "south"),)  # remembered
    assert calibrate_gallery(store, []).concurrent == 0


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (["north"], "apart: north; expected two or more"),
        (["north", "nroth"], "apart: there is no camera nroth; expected of north"),
    ],
)
def test_wrong_cameras_are_named(store, group, message):
    add_photographs(store, 1, camera="north")
    with pytest.raises(InputError, match=message):
        calibrate_gallery(store, [group])


def test_a_stranger_is_expected_a_friend_is_not(store):
    add_photographs(store, 200, camera="north")
    calibrate_gallery(store)
    loaded = StrangerCounter(store).load()
    assert loaded.describe() is None and loaded.scale is not None
    one = store.get([1])[0].embedding
    similarities = np.array([row.embedding @ one for row in store.list()])
    found = loaded.scale.compare(one, similarities, ["north"] * 800, 800)
    assert found.expected[0] == found.expected.min() < 0.1  # the person itself
    assert np.median(found.expected[1:]) == pytest.approx(400, rel=0.25)
    ratio = (found.expected[1:] < 80).sum() / 80
    assert 0.5 < ratio < 2
    half = loaded.count(one, similarities[:1], ["north"], 400)
    assert half[0] == pytest.approx(found.expected[0] / 2)


def test_growth_asks_for_a_new_calibration(store):
    add_photographs(store, 100, camera="north")
    assert refresh_calibration(store) is not None
    assert refresh_calibration(store) is None
    add_photographs(store, 20, camera="south", seed=2)  # 480 of 400 tracklets
    assert refresh_calibration(store) is None
    counter = StrangerCounter(store)
    counter.load()
    add_photographs(store, 30, camera="yard", seed=3)
    loaded = counter.load()
    expected = f"it knew 400 of 600 sightings: run `clsa-search calibrate {store.address}`"
    assert loaded.scale is not None and loaded.describe() == expected
    assert refresh_calibration(store) is not None
    assert counter.load().describe() is None


def test_a_deleted_cohort_is_used_as_far_as_it_is_left(store):
    add_photographs(store, 100, camera="north")
    calibrate_gallery(store)
    counter = StrangerCounter(store)
    counter.load()
    for i in range(40):
        store.delete(f"/north/{i:04d}.jpg")
    loaded = counter.load()
    assert loaded.scale is not None
    assert "240 of its 400 sightings are left" in (loaded.describe() or "")
    assert refresh_calibration(store) is not None


def test_no_embedding_is_in_the_calibration(store):
    add_photographs(store, 100, camera="north")
    calibrate_gallery(store)
    (note,) = store.notes("calibration")
    assert note.data is not None
    assert np.frombuffer(note.data, "<i8").tolist() == [
        one.tracklet_id for one in store.tracklets()
    ]


def test_a_damaged_calibration_is_named(store):
    add_photographs(store, 100, camera="north")
    calibrate_gallery(store)
    (note,) = store.notes("calibration")
    values = dict(note.values) | {"tail": {"scores": [2, 1], "rates": [1, 0.5]}}
    store.write_notes([type(note)("calibration", values, data=note.data)], [note.note_id])
    with pytest.raises(InputError, match="calibration is damaged; expected `clsa-search calibrate"):
        read_calibration(store)


def test_moments_show_several_tracklets(store):
    add_photographs(store, 3, camera="north")
    lonely = ImageDetections(
        BOXES[:1].astype(np.float32), np.ones(1, np.float32), unit(np.ones((1, WIDTH)))
    )
    store.add([GalleryImage("/alone.jpg", lonely)])
    moments = choose_moments(store.tracklets())
    assert moments == [(f"/north/{i:04d}.jpg", None) for i in range(3)]
    assert len(choose_moments(store.tracklets(), limit=2)) == 2
    assert store.count_tracklets(Filter(cameras=["north"])) == 12


def test_both_engines_calibrate_alike(store, milvus_server):
    address = f"{milvus_server}/calibration_{uuid.uuid4().hex}"
    with open_store(address, weights="w", create=True) as other:
        for one in (store, other):
            add_photographs(one, 100, camera="north")
        here, there = calibrate_gallery(store), calibrate_gallery(other)
        assert read_calibration(other) == there
        assert (there.pairs, len(there.cohort)) == (here.pairs, len(here.cohort)) == (600, 400)
        assert here.tail is not None and there.tail is not None
        assert there.tail.scores == pytest.approx(here.tail.scores, abs=1e-3)
        assert there.tail.rates == pytest.approx(here.tail.rates, rel=0.02)
        assert StrangerCounter(other).load().describe() is None
