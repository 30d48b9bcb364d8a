"""Checks of filters: unknown names and times of another clock are refused."""

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, IndexProgress
from clsa_search.retrieval.filter_checks import check_filter, check_times
from tests.support.store_cases import make_embeddings, make_image, new_store

NOON = 1_777_636_800.0


@pytest.fixture
def store(store_address):
    """A video with times from 0, one with dates, and images of twelve cameras."""
    videos = (("film", 0.0), ("film", 9.0), ("clock", NOON))
    scenes = [make_image(make_embeddings(1), name, frame=int(t % 7), time=t) for name, t in videos]
    scenes += [make_image(make_embeddings(1), f"{i:02}.jpg", camera=f"c{i:02}") for i in range(12)]
    with new_store(store_address) as store:
        store.add(scenes, [IndexProgress("empty.jpg", "1")])
        yield store


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (
            Filter(cameras=["c00", "c1"]),
            "camera: c1 has no detections; expected c00, .*, c09 or one of 2 more",
        ),
        (Filter(cameras=["\x1b[2J"]), r"camera: '\\x1b\[2J' has no detections"),
        (Filter(sources=["film", "gone"]), "source: gone is not indexed; expected 00.jpg, .* more"),
        *((Filter(min_score=s), "expected a score from 0 to 1") for s in (2, -0.1, float("nan"))),
    ],
)
def test_unknown_values_are_refused(store, where, words):
    with pytest.raises(InputError, match=words):
        check_filter(store, where)


def test_an_empty_gallery_has_no_names_to_offer(store_address):
    with new_store(store_address) as store:
        with pytest.raises(InputError, match="camera: door has no detections; expected none"):
            check_filter(store, Filter(cameras=["door"]))


def test_known_values_pass(store):
    check_filter(store, Filter())
    check_filter(store, Filter(["c00", "c11"], ["film", "empty.jpg"], min_score=1.0))


@pytest.mark.parametrize("name", ["since", "until"])
def test_times_of_another_clock_are_refused(store, name):
    with pytest.raises(InputError, match=f"{name}: 12:00:02.0 is a time within a video; expected"):
        check_times(store, Filter(sources=["clock"], **{name: 43_202.0}))
    with pytest.raises(InputError, match=f"{name}: 2026-05-0. .* is a date; expected a time with"):
        check_times(store, Filter(sources=["film"], **{name: NOON}))


@pytest.mark.parametrize("seconds", [-5.0, 5.0, NOON + 9])
def test_times_of_a_stored_clock_pass(store, seconds):
    check_times(store, Filter(since=seconds, until=seconds + 1))  # the gallery has both clocks
    source = "film" if seconds < 100 else "clock"
    check_times(store, Filter(sources=[source], since=seconds))
    check_times(store, Filter(cameras=["c00"], until=seconds))  # its image has no time


def test_a_filter_that_ends_before_it_begins_is_refused(store):
    with pytest.raises(InputError, match="since: 0:00:02.0 is later than until: 0:00:01.0"):
        check_times(store, Filter(since=2, until=1))
