"""Exact search in a gallery store: filters, ties, several connections and threads."""

import threading

import numpy as np
import pytest
import torch

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, embedding_matrix
from tests.support.devices import DEVICES
from tests.support.store_cases import (
    make_embeddings,
    make_image,
    make_images,
    new_store,
    search_by_sorting,
)

NAN = np.full((2, 16), np.nan, np.float32)
QUERIES = make_embeddings(5, seed=77)

FILTERS = {
    "none": (None, lambda d: True),
    "camera": (Filter(cameras=["door"]), lambda d: d.camera == "door"),
    "cameras": (
        Filter(cameras=["door", "phone", "roof"]),
        lambda d: d.camera in ("door", "phone"),
    ),
    "time": (
        Filter(since=4, until=20.5),
        lambda d: d.time is not None and 4 <= d.time <= 20.5,
    ),
    "score": (Filter(min_score=0.7), lambda d: d.score >= 0.7),
    "source": (
        Filter(sources=["video_0.mp4", "photo_3.jpg", "nowhere"]),
        lambda d: d.source in ("video_0.mp4", "photo_3.jpg"),
    ),
    "all": (
        Filter(["yard"], ["video_2.mp4"], since=3, until=25, min_score=0.6),
        lambda d: (
            d.camera == "yard" and d.time is not None and 3 <= d.time <= 25 and d.score >= 0.6
        ),
    ),
    "nothing": (Filter(cameras=["roof"]), lambda d: False),
}


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 16 embeddings of width 16, so that a few images fill several."""
    monkeypatch.setattr(embedding_matrix, "_CHUNK_BYTES", 16 * 16 * 4)


def assert_same(hits, expected):
    assert hits.ids.tolist() == [[one for one, _ in best] for best in expected]
    assert hits.similarities.tolist() == [[value for _, value in best] for best in expected]


def assert_exact(store, name, per):
    where, passes = FILTERS[name]
    detections = store.scan()
    for k in (1, 7, 1000):
        hits = store.search_ids(QUERIES, k, where, per)
        assert_same(hits, search_by_sorting(detections, QUERIES, k, passes, per))
    assert store.count(where) == sum(map(passes, detections))


@pytest.mark.parametrize("per", ["match", "image"])
def test_search_is_exact(store_address, small_chunks, per):
    with new_store(store_address) as store:
        store.add(make_images())
        for name in FILTERS:
            assert_exact(store, name, per)


@pytest.mark.parametrize("per", ["match", "image"])
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("narrow", [1, 1000])
@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_narrow_and_wide_filters_are_exact(
    tmp_path, small_chunks, monkeypatch, name, per, narrow, device
):
    monkeypatch.setattr(embedding_matrix, "_NARROW", narrow)
    with new_store(tmp_path / "gallery.db", device=device) as store:
        store.add(make_images())
        assert_exact(store, name, per)


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_a_filter_used_again_follows_changes(tmp_path, device):
    cameras = ["door"]
    where = Filter(cameras)
    with new_store(tmp_path / "gallery.db", device=device) as store:
        for step in range(3):
            store.add(make_images(20, seed=step))
            if step == 2:
                store.delete("video_1.mp4")
            for _ in range(2):
                expected = search_by_sorting(
                    store.scan(limit=1000), QUERIES, 9, lambda d: d.camera == "door"
                )
                assert_same(store.search_ids(QUERIES, 9, where), expected)
        cameras[0] = "yard"
        expected = search_by_sorting(
            store.scan(limit=1000), QUERIES, 9, lambda d: d.camera == "yard"
        )
        assert_same(store.search_ids(QUERIES, 9, where), expected)


def test_ties_are_in_the_order_of_ids(store_address):
    query = make_embeddings(1)
    with new_store(store_address) as store:
        store.add([make_image(np.repeat(query, 50, axis=0), source) for source in ("b", "a")])
        assert store.search_ids(query, 60).ids.tolist() == [list(range(1, 61))]
        assert store.search_ids(query, 5, per="image").ids.tolist() == [[1, 51]]


def test_a_score_passes_its_unrounded_value(store_address):
    with new_store(store_address) as store:
        store.add([make_image(make_embeddings(6))])  # 0.5, 0.6 ... in single precision
        counts = [store.count(Filter(min_score=bound)) for bound in (0.6, 0.7, 0.8, 0.9)]
        assert counts == [5, 4, 3, 2]


def test_a_search_follows_changes_of_other_connections(store_address, small_chunks):
    other = new_store(store_address)
    with new_store(store_address) as store:
        for step in range(6):
            writer = (store, other)[step % 2]
            ids = writer.add(make_images(20, seed=step))
            if step % 3 == 2:
                writer.delete("video_0.mp4")
                gone = writer.get(ids[-1:])[0].source
                writer.delete(gone)  # the last detections too: their ids are not used again
            detections = store.scan(limit=1000)
            for reader in (store, other):
                hits = reader.search_ids(QUERIES, 30)
                assert_same(hits, search_by_sorting(detections, QUERIES, 30))
            assert store.count() == store.count(Filter()) == len(detections)
        last = store.scan(limit=1000)[-1].detection_id
        for source in other.sources():
            other.delete(source.path)
        assert store.search_ids(QUERIES, 3).ids.shape == (5, 0)
        assert store.add([make_image(make_embeddings(1))])[0] > last
        assert store.search_ids(QUERIES, 3).ids.shape == (5, 1)
    other.close()


def test_threads_may_share_a_store(store_address):
    with new_store(store_address) as store:
        faults = []

        def work(number):
            try:
                for _ in range(10):
                    store.add([make_image(make_embeddings(3), f"{number}.jpg")])
                    store.search_ids(QUERIES, 5)
            except Exception as error:
                faults.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults
        assert store.search_ids(QUERIES, 1000).ids.shape == (5, 120)


def test_half_precision_searches_rounded_embeddings(tmp_path):
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((40, 8)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    with new_store(tmp_path / "gallery.db", dtype=torch.float16) as store:
        store.add([make_image(embeddings)])
        hits = store.search_ids(embeddings[:3], 40)
        expected = embeddings[:3] @ embeddings.astype(np.float16).astype(np.float32).T
        ranked = np.take_along_axis(expected, hits.ids - 1, axis=1)
        np.testing.assert_allclose(hits.similarities, ranked, atol=1e-6)
        assert hits.ids[:, 0].tolist() == [1, 2, 3]
        assert (store.get([2])[0].embedding == embeddings[1]).all()


def test_an_empty_store_has_no_matches(store_address):
    with new_store(store_address) as store:
        assert store.width is None
        assert store.search_ids(QUERIES, 3).similarities.shape == (5, 0)
        assert store.count() == store.count(Filter(min_score=0)) == 0
        store.add(make_images(4))
        assert store.search_ids(np.zeros((0, 16)), 3).ids.shape == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((make_embeddings(1)[0], 3), r"shape \(16,\); expected \(Q, 16\)"),
        ((make_embeddings(1, width=64), 3), r"shape \(1, 64\); expected \(Q, 16\)"),
        ((NAN, 3), "queries: row 0 is not of unit length"),
        ((QUERIES * 3, 3), "queries: row 0 is not of unit length"),
        ((QUERIES, 0), "k: 0; expected an integer, 1 or more"),
        ((QUERIES, 3, None, "person"), "per: 'person'; expected"),
    ],
)
def test_malformed_queries_are_refused(store_address, arguments, words):
    with new_store(store_address) as store:
        store.add([make_image(make_embeddings(2))])
        with pytest.raises(InputError, match=words):
            store.search_ids(*arguments)
