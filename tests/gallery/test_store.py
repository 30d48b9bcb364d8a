"""A gallery store: adding, reading, progress of sources, refused arguments."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clsa_search.errors import InputError
from clsa_search.gallery import IndexConflict, IndexProgress, Source, open_store
from tests.support.store_cases import (
    WEIGHTS,
    make_embeddings,
    make_image,
    make_images,
    new_store,
)

NAN = np.full((2, 16), np.nan, np.float32)
RIGHT = make_image(make_embeddings(2), "v.mp4", frame=3)


def test_a_detection_is_read_as_it_was_stored(store_address):
    embeddings = make_embeddings(3, width=64)
    image = make_image(
        embeddings, "ü b.mp4", frame=np.int64(7), time=np.float32(0.25), camera="door"
    )
    with new_store(store_address) as store:
        first, _, last = store.get(store.add([image]))
    assert (first.detection_id, first.source, first.frame) == (1, "ü b.mp4", 7)
    assert (first.time, first.camera) == (0.25, "door")
    assert (last.box, last.score) == ((4, 5, 14, 15), 1)
    assert last.embedding.dtype == np.float32
    assert (last.embedding == embeddings[2]).all()
    with open_store(store_address) as store:  # without knowing the weights
        assert (store.weights, store.width, store.count()) == (WEIGHTS, 64, 3)
        with pytest.raises(InputError, match="opened without weights"):
            store.add([image])


def test_a_scan_reads_all_detections_in_the_order_of_ids(store_address):
    with new_store(store_address) as store:
        ids = store.add(make_images())
        store.delete("video_1.mp4")
        scanned, after = [], 0
        while piece := store.scan(after, 7):
            scanned += piece
            after = piece[-1].detection_id
        left = [one for one in ids if one in {detection.detection_id for detection in scanned}]
        assert [detection.detection_id for detection in scanned] == left
        assert len(left) == store.count() < len(ids)
        for detection, same in zip(scanned, store.get(left), strict=True):
            assert (detection.embedding == same.embedding).all()
            assert vars(detection) | {"embedding": 0} == vars(same) | {"embedding": 0}


def list_cameras(store):
    return sorted({detection.camera for detection in store.scan()} - {None})


def test_cameras_are_those_of_the_remaining_detections(store_address):
    with new_store(store_address) as store:
        assert store.cameras() == list_cameras(store) == []
        store.add(make_images())
        assert store.cameras() == list_cameras(store) == ["door", "phone", "yard"]
        store.delete("video_1.mp4")
        assert store.cameras() == list_cameras(store) == ["phone", "yard"]


@pytest.mark.parametrize(
    "stale",
    [
        IndexProgress("v.mp4", "1", next_frame=9),  # as if indexing had not begun
        IndexProgress("v.mp4", "1", next_frame=9, after=3),
        IndexProgress("v.mp4", "2", after=5),  # of another file
        IndexProgress("done.jpg", "1"),
        IndexProgress("done.jpg", "1", after=5),
        IndexProgress("new.mp4", "1", after=5),
    ],
)
def test_a_conflicting_add_stores_nothing(store_address, stale):
    with new_store(store_address) as store:
        store.add([], [IndexProgress("v.mp4", "1", next_frame=5), IndexProgress("done.jpg", "1")])
        before = store.sources()
        with pytest.raises(IndexConflict) as error:
            store.add(
                [make_image(make_embeddings(1), stale.source)],
                [IndexProgress("other.jpg", "1"), stale],
            )
        assert error.value.sources == [stale.source]
        assert (store.sources(), store.count()) == (before, 0)


def test_a_refused_batch_leaves_progress_as_it_was(store_address):
    with new_store(store_address) as store:
        store.add([], [IndexProgress("v.mp4", "1", next_frame=3)])
        wrong = make_image(2 * make_embeddings(1), "v.mp4", frame=3)
        with pytest.raises(InputError, match="unit length"):
            store.add([wrong], [IndexProgress("v.mp4", "1", after=3)])
        assert store.sources() == [Source("v.mp4", "1", 3, 0)]


def test_a_gallery_keeps_the_notes_of_its_creator(store_address):
    about = {"weights_file": "/models/büro.pth", "config": "A: 1\n"}
    new_store(store_address, about=about).close()
    with new_store(store_address, about={"other": "x"}) as store:  # exists already
        assert store.about == about


def test_sources_report_progress(store_address):
    with new_store(store_address) as store:
        store.add(
            [
                make_image(make_embeddings(2), "v.mp4", frame=4),
                make_image(make_embeddings(1), "p.jpg"),
            ]
        )
        store.add([make_image(make_embeddings(0), "empty.jpg")])
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
            [make_image(make_embeddings(1), "empty.jpg")],
            [IndexProgress("empty.jpg", "20:2", after=7)],
        )
        assert store.sources()[2] == Source("empty.jpg", "20:2", None, 1)
        assert store.delete("p.jpg") == 1
        assert store.delete("p.jpg") == 0
        assert [s.path for s in store.sources()] == ["v.mp4", "empty.jpg"]


def test_a_source_is_replaced_in_one_transaction(store_address):
    with new_store(store_address) as store:
        store.add([make_image(make_embeddings(3), "a.jpg")], [IndexProgress("a.jpg", "1")])
        store.add([make_image(make_embeddings(2), "b.jpg")])
        (stored, _) = store.sources()
        new = make_image(make_embeddings(1), "a.jpg")
        with pytest.raises(InputError, match="unit length"):
            wrong = make_image(2 * make_embeddings(1), "a.jpg")
            store.add([wrong], [IndexProgress("a.jpg", "2", replaces=stored)])
        assert store.count() == 5
        (detection_id,) = store.add([new], [IndexProgress("a.jpg", "2", replaces=stored)])
        assert store.count() == 3 and detection_id > 5
        assert {s.path: (s.fingerprint, s.detections) for s in store.sources()} == {
            "a.jpg": ("2", 1),
            "b.jpg": (None, 2),
        }
        found = store.search_ids(make_embeddings(1), 9)
        assert detection_id in found.ids and found.ids.shape == (1, 3)
        with pytest.raises(IndexConflict):  # with the add before
            store.add([new], [IndexProgress("a.jpg", "3", replaces=stored)])
        assert store.count() == 3


def change(image, **fields):
    """Return a copy with other fields, of the image or of its detections."""
    inner = {name: value for name, value in fields.items() if name not in vars(image)}
    outer = {name: value for name, value in fields.items() if name in vars(image)}
    return replace(image, detections=replace(image.detections, **inner), **outer)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"embeddings": 2 * make_embeddings(2)}, "embeddings: row 0 is not of unit length"),
        ({"embeddings": NAN}, "embeddings: row 0 is not of unit length"),
        ({"embeddings": make_embeddings(3)}, r"embeddings: shape \(3, 16\); expected \(2, 16\)"),
        ({"embeddings": make_embeddings(2)[0]}, r"embeddings: shape \(16,\)"),
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
def test_batches_with_a_malformed_image_are_refused_whole(store_address, fields, words):
    with new_store(store_address) as store:
        store.add([RIGHT])
        wrong = change(RIGHT, **fields)
        with pytest.raises(InputError, match=words) as error:
            store.add([change(RIGHT, source="first"), wrong])
        assert store_address in str(error.value)
        assert store.count() == 2
        assert [source.path for source in store.sources()] == ["v.mp4"]


def test_other_weights_and_widths_are_not_mixed_in(store_address):
    with new_store(store_address) as store, new_store(store_address) as other:
        other.add([RIGHT])
        with pytest.raises(InputError, match=r"\(2, 64\); expected \(2, 16\)"):
            store.add([make_image(make_embeddings(2, width=64))])
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
