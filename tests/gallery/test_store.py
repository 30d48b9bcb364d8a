"""The gallery store: exact search, filters, deletes, what it refuses, and several processes."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from clsa_search.errors import InputError
from clsa_search.gallery import (
    Filter,
    IndexConflict,
    IndexProgress,
    Source,
    open_store,
)
from clsa_search.gallery import embedding_index as store_index
from clsa_search.gallery import embedding_matrix as store_matrix
from tests.support.store_cases import (
    WEIGHTS,
    draw_rows,
    draw_scenes,
    make_scene,
    new_store,
    search_literally,
)

QUERIES = draw_rows(5, seed=77)
FILTERS = {
    "none": (None, lambda e: True),
    "camera": (Filter(cameras=["door"]), lambda e: e.camera == "door"),
    "cameras": (
        Filter(cameras=["door", "phone", "roof"]),
        lambda e: e.camera in ("door", "phone"),
    ),
    "time": (
        Filter(since=4, until=20.5),
        lambda e: e.time is not None and 4 <= e.time <= 20.5,
    ),
    "score": (Filter(min_score=0.7), lambda e: e.score >= 0.7),
    "source": (
        Filter(sources=["video_0.mp4", "photo_3.jpg", "nowhere"]),
        lambda e: e.source in ("video_0.mp4", "photo_3.jpg"),
    ),
    "all": (
        Filter(["yard"], ["video_2.mp4"], since=3, until=25, min_score=0.6),
        lambda e: (
            e.camera == "yard" and e.time is not None and 3 <= e.time <= 25 and e.score >= 0.6
        ),
    ),
    "nothing": (Filter(cameras=["roof"]), lambda e: False),
}


@pytest.fixture
def small_chunks(monkeypatch):
    """Of 16 rows of 16 numbers, so that a few scenes fill several."""
    monkeypatch.setattr(store_matrix, "_CHUNK_BYTES", 16 * 16 * 4)


def assert_same(matches, expected):
    assert matches.ids.tolist() == [[row for row, _ in answer] for answer in expected]
    assert matches.similarities.tolist() == [[value for _, value in answer] for answer in expected]


def assert_exact(store, name, per):
    where, passes = FILTERS[name]
    entries = store.scan()
    for k in (1, 7, 1000):
        found = store.search_ids(QUERIES, k, where, per)
        assert_same(found, search_literally(entries, QUERIES, k, passes, per))
    assert store.count(where) == sum(map(passes, entries))


@pytest.mark.parametrize("per", ["match", "image"])
def test_search_is_exact(store_address, small_chunks, per):
    with new_store(store_address) as store:
        store.add(draw_scenes())
        for name in FILTERS:
            assert_exact(store, name, per)


@pytest.mark.parametrize("per", ["match", "image"])
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("narrow", [1, 1000])
def test_both_ways_of_filtering_are_exact(tmp_path, small_chunks, monkeypatch, name, per, narrow):
    monkeypatch.setattr(store_index, "_NARROW", narrow)
    with new_store(tmp_path / "gallery.db") as store:
        store.add(draw_scenes())
        assert_exact(store, name, per)


def test_of_equal_similarities_the_lower_detection_id_comes_first(store_address):
    row = draw_rows(1)
    with new_store(store_address) as store:
        store.add([make_scene(np.repeat(row, 50, axis=0), source) for source in ("b", "a")])
        assert store.search_ids(row, 60).ids.tolist() == [list(range(1, 61))]
        assert store.search_ids(row, 5, per="image").ids.tolist() == [[1, 51]]


def test_a_score_passes_the_bound_that_it_was_rounded_from(store_address):
    with new_store(store_address) as store:
        store.add([make_scene(draw_rows(6))])  # 0.5, 0.6 ... in single precision
        counts = [store.count(Filter(min_score=bound)) for bound in (0.6, 0.7, 0.8, 0.9)]
        assert counts == [5, 4, 3, 2]


def test_an_entry_comes_back_as_it_was_stored(store_address):
    rows = draw_rows(3, width=64)
    scene = make_scene(rows, "ü b.mp4", frame=np.int64(7), time=np.float32(0.25), camera="door")
    with new_store(store_address) as store:
        first, _, last = store.get(store.add([scene]))
    assert (first.detection_id, first.source, first.frame) == (1, "ü b.mp4", 7)
    assert (first.time, first.camera) == (0.25, "door")
    assert (last.box, last.score) == ((4, 5, 14, 15), 1)
    assert last.embedding.dtype == np.float32
    assert (last.embedding == rows[2]).all()
    with open_store(store_address) as store:  # without knowing the weights
        assert (store.weights, store.width, store.count()) == (WEIGHTS, 64, 3)
        with pytest.raises(InputError, match="opened without weights"):
            store.add([scene])


def test_a_scan_walks_over_all_rows_in_their_order(store_address):
    with new_store(store_address) as store:
        ids = store.add(draw_scenes())
        store.delete("video_1.mp4")
        rows, after = [], 0
        while piece := store.scan(after, 7):
            rows += piece
            after = piece[-1].detection_id
        left = [row for row in ids if row in {entry.detection_id for entry in rows}]
        assert [entry.detection_id for entry in rows] == left
        assert len(left) == store.count() < len(ids)
        for entry, same in zip(rows, store.get(left), strict=True):
            assert (entry.embedding == same.embedding).all()
            assert vars(entry) | {"embedding": 0} == vars(same) | {"embedding": 0}


def list_cameras(store):
    return sorted({entry.camera for entry in store.scan()} - {None})


def test_cameras_are_those_of_the_rows_that_are_left(store_address):
    with new_store(store_address) as store:
        assert store.cameras() == list_cameras(store) == []
        store.add(draw_scenes())
        assert store.cameras() == list_cameras(store) == ["door", "phone", "yard"]
        store.delete("video_1.mp4")
        assert store.cameras() == list_cameras(store) == ["phone", "yard"]


@pytest.mark.parametrize(
    "stale",
    [
        IndexProgress("v.mp4", "1", next_frame=9),  # as if nobody had begun
        IndexProgress("v.mp4", "1", next_frame=9, after=3),
        IndexProgress("v.mp4", "2", after=5),  # of another file
        IndexProgress("done.jpg", "1"),
        IndexProgress("done.jpg", "1", after=5),
        IndexProgress("new.mp4", "1", after=5),
    ],
)
def test_who_was_overtaken_adds_nothing(store_address, stale):
    with new_store(store_address) as store:
        store.add([], [IndexProgress("v.mp4", "1", next_frame=5), IndexProgress("done.jpg", "1")])
        before = store.sources()
        with pytest.raises(IndexConflict) as error:
            store.add(
                [make_scene(draw_rows(1), stale.source)], [IndexProgress("other.jpg", "1"), stale]
            )
        assert error.value.sources == [stale.source]
        assert (store.sources(), store.count()) == (before, 0)


def test_a_refused_batch_leaves_progress_as_it_was(store_address):
    with new_store(store_address) as store:
        store.add([], [IndexProgress("v.mp4", "1", next_frame=3)])
        wrong = make_scene(2 * draw_rows(1), "v.mp4", frame=3)
        with pytest.raises(InputError, match="unit length"):
            store.add([wrong], [IndexProgress("v.mp4", "1", after=3)])
        assert store.sources() == [Source("v.mp4", "1", 3, 0)]


def test_a_gallery_remembers_what_was_said_when_it_was_made(store_address):
    about = {"weights_file": "/models/büro.pth", "config": "A: 1\n"}
    new_store(store_address, about=about).close()
    with new_store(store_address, about={"other": "x"}) as store:  # is there already
        assert store.about == about


def test_sources_say_what_is_done(store_address):
    with new_store(store_address) as store:
        store.add([make_scene(draw_rows(2), "v.mp4", frame=4), make_scene(draw_rows(1), "p.jpg")])
        store.add([make_scene(draw_rows(0), "empty.jpg")])
        progress = [
            IndexProgress("p.jpg", "10:1"),
            IndexProgress("empty.jpg", "20:2", next_frame=7),
        ]
        assert store.add([], progress).shape == (0,)
        assert store.sources() == [
            Source("v.mp4", None, None, 2),
            Source("p.jpg", "10:1", None, 1),
            Source("empty.jpg", "20:2", 7, 0),
        ]
        assert [source.is_complete for source in store.sources()] == [False, True, False]
        store.add(
            [make_scene(draw_rows(1), "empty.jpg")], [IndexProgress("empty.jpg", "20:2", after=7)]
        )
        assert store.sources()[2] == Source("empty.jpg", "20:2", None, 1)
        assert store.delete("p.jpg") == 1
        assert store.delete("p.jpg") == 0
        assert [s.path for s in store.sources()] == ["v.mp4", "empty.jpg"]


def test_a_search_follows_what_other_connections_do(store_address, small_chunks):
    other = new_store(store_address)
    with new_store(store_address) as store:
        for step in range(6):
            writer = (store, other)[step % 2]
            ids = writer.add(draw_scenes(20, seed=step))
            if step % 3 == 2:
                writer.delete("video_0.mp4")
                gone = writer.get(ids[-1:])[0].source
                writer.delete(gone)  # the rows at the end too: their ids are not used again
            entries = store.scan(limit=1000)
            for reader in (store, other):
                found = reader.search_ids(QUERIES, 30)
                assert_same(found, search_literally(entries, QUERIES, 30))
            assert store.count() == store.count(Filter()) == len(entries)
        last = store.scan(limit=1000)[-1].detection_id
        for source in other.sources():
            other.delete(source.path)
        assert store.search_ids(QUERIES, 3).ids.shape == (5, 0)
        assert store.add([make_scene(draw_rows(1))])[0] > last
        assert store.search_ids(QUERIES, 3).ids.shape == (5, 1)
    other.close()


def test_threads_may_share_a_store(store_address):
    with new_store(store_address) as store:
        faults = []

        def work(number):
            try:
                for _ in range(10):
                    store.add([make_scene(draw_rows(3), f"{number}.jpg")])
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


def test_half_precision_holds_the_rounded_rows(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with new_store(tmp_path / "gallery.db", dtype=torch.float16) as store:
        store.add([make_scene(rows)])
        found = store.search_ids(rows[:3], 40)
        expected = rows[:3] @ rows.astype(np.float16).astype(np.float32).T
        sorted_rows = np.take_along_axis(expected, found.ids - 1, axis=1)
        np.testing.assert_allclose(found.similarities, sorted_rows, atol=1e-6)
        assert found.ids[:, 0].tolist() == [1, 2, 3]
        assert (store.get([2])[0].embedding == rows[1]).all()


def test_an_empty_store_has_no_matches(store_address):
    with new_store(store_address) as store:
        assert store.width is None
        assert store.search_ids(QUERIES, 3).similarities.shape == (5, 0)
        assert store.count() == store.count(Filter(min_score=0)) == 0
        store.add(draw_scenes(4))
        assert store.search_ids(np.zeros((0, 16)), 3).ids.shape == (0, 0)


def change(image, **fields):
    """Return a copy with other fields, of the image or of its detections."""
    inner = {name: value for name, value in fields.items() if name not in vars(image)}
    outer = {name: value for name, value in fields.items() if name in vars(image)}
    return replace(image, detections=replace(image.detections, **inner), **outer)


NAN = np.full((2, 16), np.nan, np.float32)
RIGHT = make_scene(draw_rows(2), "v.mp4", frame=3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"embeddings": 2 * draw_rows(2)}, "embeddings: row 0 is not of unit length"),
        ({"embeddings": NAN}, "embeddings: row 0 is not of unit length"),
        ({"embeddings": draw_rows(3)}, r"embeddings: shape \(3, 16\); expected \(2, 16\)"),
        ({"embeddings": draw_rows(2)[0]}, r"embeddings: shape \(16,\)"),
        ({"boxes": np.zeros((2, 5))}, r"boxes: shape \(2, 5\); expected \(2, 4\)"),
        ({"boxes": np.float32([[0, 0, 1, 1], [5, 0, 4, 1]])}, "boxes: row 1 is wrong"),
        ({"scores": np.float32([1, np.inf])}, "scores: row 1 is not finite"),
        ({"source": ""}, "source: ''; expected a path"),
        ({"source": "\udcff.jpg"}, "cannot add"),
        ({"frame": -1}, "frame: -1; expected"),
        ({"frame": 0.5}, "frame: 0.5; expected"),
        ({"time": float("nan")}, "time: nan; expected"),
        ({"camera": 3}, "camera: 3; expected"),
    ],
)
def test_malformed_scenes_are_refused_whole(store_address, fields, words):
    with new_store(store_address) as store:
        store.add([RIGHT])
        wrong = change(RIGHT, **fields)
        with pytest.raises(InputError, match=words) as error:
            store.add([change(RIGHT, source="first"), wrong])
        assert store_address in str(error.value)
        assert store.count() == 2
        assert [source.path for source in store.sources()] == ["v.mp4"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((draw_rows(1)[0], 3), r"shape \(16,\); expected \(Q, 16\)"),
        ((draw_rows(1, width=64), 3), r"shape \(1, 64\); expected \(Q, 16\)"),
        ((NAN, 3), "queries: row 0 is not of unit length"),
        ((QUERIES * 3, 3), "queries: row 0 is not of unit length"),
        ((QUERIES, 0), "k: 0; expected 1"),
        ((QUERIES, 3, None, "person"), "per: 'person'; expected"),
    ],
)
def test_malformed_queries_are_refused(store_address, arguments, words):
    with new_store(store_address) as store:
        store.add([RIGHT])
        with pytest.raises(InputError, match=words):
            store.search_ids(*arguments)


def test_other_weights_and_widths_are_not_mixed_in(store_address):
    with new_store(store_address) as store, new_store(store_address) as other:
        other.add([RIGHT])
        with pytest.raises(InputError, match=r"\(2, 64\); expected \(2, 16\)"):
            store.add([make_scene(draw_rows(2, width=64))])
        with pytest.raises(InputError, match="detection 99"):
            store.get([1, 99])
    for create in (False, True):
        with pytest.raises(InputError, match=f"weights {WEIGHTS}.*not {'b' * 64}"):
            open_store(store_address, weights="b" * 64, create=create)


@pytest.mark.parametrize(
    ("address", "options", "words"),
    [
        ("ftp://host/street", {}, "no engine.*ftp://; expected the path of a file"),
        ("missing.db", {}, "missing.db: there is no gallery"),
        ("missing.db", {"weights": WEIGHTS}, "missing.db: there is no gallery"),
        ("new.db", {"create": True}, "weights: None; expected"),
        ("new.db", {"dtype": torch.int8}, "dtype: torch.int8; expected"),
    ],
)
def test_addresses_that_cannot_be_opened(tmp_path, monkeypatch, address, options, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        open_store(address, **options)
    assert not list(tmp_path.iterdir())


def test_a_source_is_replaced_at_once_or_not_at_all(store_address):
    with new_store(store_address) as store:
        store.add([make_scene(draw_rows(3), "a.jpg")], [IndexProgress("a.jpg", "1")])
        store.add([make_scene(draw_rows(2), "b.jpg")])
        (stored, _) = store.sources()
        new = make_scene(draw_rows(1), "a.jpg")
        with pytest.raises(InputError, match="unit length"):
            wrong = make_scene(2 * draw_rows(1), "a.jpg")
            store.add([wrong], [IndexProgress("a.jpg", "2", replaces=stored)])
        assert store.count() == 5
        (detection_id,) = store.add([new], [IndexProgress("a.jpg", "2", replaces=stored)])
        assert store.count() == 3 and detection_id > 5
        assert {s.path: (s.fingerprint, s.detections) for s in store.sources()} == {
            "a.jpg": ("2", 1),
            "b.jpg": (None, 2),
        }
        found = store.search_ids(draw_rows(1), 9)
        assert detection_id in found.ids and found.ids.shape == (1, 3)
        with pytest.raises(IndexConflict):  # by the one before
            store.add([new], [IndexProgress("a.jpg", "3", replaces=stored)])
        assert store.count() == 3
