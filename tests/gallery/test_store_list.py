"""Listing detections in an order, and searching while another process deletes."""

import threading

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, IndexProgress, open_store
from tests.support.store_cases import WEIGHTS, make_embeddings, make_image, make_images, new_store

QUERIES = make_embeddings(3, seed=77)
ORDERS = {
    "id": lambda d: d.detection_id,
    "time": lambda d: (d.time is not None, d.time or 0, d.detection_id),
    "score": lambda d: (-d.score, d.detection_id),
}
FILTERS = {
    "all": (None, lambda d: True),
    "empty": (Filter(), lambda d: True),
    "one source": (Filter(sources=["video_1.mp4"]), lambda d: d.source == "video_1.mp4"),
    "sources": (
        Filter(sources=["video_1.mp4", "photo_3.jpg", "nowhere"]),
        lambda d: d.source in ("video_1.mp4", "photo_3.jpg"),
    ),
    "unknown source": (Filter(sources=["nowhere"]), lambda d: False),
    "no source": (Filter(sources=[]), lambda d: False),
    "cameras": (Filter(cameras=["door", "roof"]), lambda d: d.camera == "door"),
    "time": (Filter(since=4, until=9), lambda d: d.time is not None and 4 <= d.time <= 9),
    "no time": (Filter(since=float("nan")), lambda d: False),
    "score": (Filter(min_score=0.7), lambda d: d.score >= np.float32(0.7)),
}


def ids_of(detections):
    return [detection.detection_id for detection in detections]


@pytest.fixture
def store(store_address):
    """A gallery with a deleted source and ties of times and scores."""
    with new_store(store_address) as store:
        store.add(make_images())
        store.delete("video_0.mp4")
        yield store


@pytest.mark.parametrize("order", ORDERS)
def test_a_list_is_filtered_and_sorted_with_ties_by_id(store, order):
    everything = store.scan(limit=10_000)
    for where, passes in FILTERS.values():
        expected = ids_of(sorted(filter(passes, everything), key=ORDERS[order]))
        assert ids_of(store.list(where, order)) == expected
        assert ids_of(store.list(where, order, limit=4)) == expected[:4]
        assert ids_of(store.list(where, order, limit=4, offset=3)) == expected[3:7]
        assert ids_of(store.list(where, order, offset=5)) == expected[5:]
        assert store.count(where) == len(expected)
    assert store.list(limit=0) == store.list(offset=10_000) == []


def test_counts_are_equal_before_and_after_the_index_is_loaded(store):
    before = [store.count(where) for where, _ in FILTERS.values()]
    store.search_ids(QUERIES, 1)
    assert [store.count(where) for where, _ in FILTERS.values()] == before


def test_listed_detections_are_whole(store):
    (first, *_) = store.list(order_by="score")
    (same,) = store.get([first.detection_id])
    assert (first.embedding == same.embedding).all()
    assert vars(first) | {"embedding": 0} == vars(same) | {"embedding": 0}


def test_an_empty_gallery_lists_nothing(store_address):
    with new_store(store_address) as store:
        store.add([], [IndexProgress("empty.jpg", "1")])
        assert store.list() == store.list(Filter(since=1), "time", limit=3) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"order_by": "size"}, "order_by: 'size'; expected 'id', 'time' or 'score'"),
        ({"limit": -1}, "limit: -1; expected 0 or more"),
        ({"offset": -1}, "offset: -1; expected 0 or more"),
    ],
)
def test_malformed_listings_are_refused(store, arguments, words):
    with pytest.raises(InputError, match=words):
        store.list(**arguments)


@pytest.mark.parametrize("per", ["match", "image"])
def test_matches_are_the_hits_with_their_detections(store, per):
    hits = store.search_ids(QUERIES, 7, Filter(min_score=0.6), per)
    matches = store.search(QUERIES, 7, Filter(min_score=0.6), per)
    assert [ids_of(match.detection for match in row) for row in matches] == hits.ids.tolist()
    similarities = [[match.similarity for match in row] for row in matches]
    assert similarities == hits.similarities.tolist()
    for match in matches[0]:
        assert match.similarity == pytest.approx(QUERIES[0] @ match.detection.embedding, abs=1e-6)


def test_a_search_reads_one_state_of_the_file(tmp_path):
    """Delete the match between the filter and the reading of the matches."""
    path = tmp_path / "gallery.db"
    with new_store(path) as store, open_store(path) as other:
        store.add([make_image(QUERIES, "a.jpg"), make_image(QUERIES, "b.jpg")])

        class Sources(list):
            is_searched = False

            def __iter__(self):  # of the filter, which is read first
                if self.is_searched:
                    other.delete("a.jpg")
                return super().__iter__()

        where = Filter(sources=Sources(["a.jpg", "b.jpg"]))
        where.sources.is_searched = True
        (matches, *_) = store.search(QUERIES, 6, where)
        assert {match.detection.source for match in matches} == {"a.jpg", "b.jpg"}
        assert len(matches) == 6
        assert {detection.source for detection in store.list()} == {"b.jpg"}


def test_a_search_survives_deletions_by_others(store_address):
    """Delete and add the best matches all the time; every match is whole."""
    query = make_embeddings(1)
    done = threading.Event()
    faults = []

    def replace_forever(other):
        try:
            while not done.is_set():
                other.add([make_image(query, f"{i}.jpg") for i in range(4)])
                for i in range(4):
                    other.delete(f"{i}.jpg")
        except Exception as error:
            faults.append(error)

    with new_store(store_address) as store, open_store(store_address, weights=WEIGHTS) as other:
        store.add([make_image(-query, "last.jpg")])
        writer = threading.Thread(target=replace_forever, args=(other,))
        writer.start()
        try:
            for _ in range(30):
                (matches,) = store.search(query, 5)
                sources = [match.detection.source for match in matches]
                assert len(sources) <= 5 and len(set(sources)) == len(sources)
                assert store.list(Filter(sources=["last.jpg"]))[0].source == "last.jpg"
        finally:
            done.set()
            writer.join()
    assert not faults
