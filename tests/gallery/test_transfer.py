"""Copying a gallery to the other engine: equal detections in equal order, also interrupted."""

import uuid
from dataclasses import replace

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import IndexProgress, Source, open_store
from clsa_search.gallery.milvus_sources import SourceTable
from clsa_search.gallery.transfer import CopyReport, copy_gallery
from tests.support.store_cases import WEIGHTS, make_embeddings, make_image, make_images, new_store
from tests.support.tracklet_cases import link_by

ABOUT = {"weights_file": "/models/büro.pth"}
ROWS = make_embeddings(7)


@pytest.fixture(params=["sqlite to milvus", "milvus to sqlite", "sqlite to sqlite"])
def addresses(request, tmp_path):
    """Addresses of a gallery and of its copy."""
    found = []
    for number, engine in enumerate(request.param.split(" to ")):
        if engine == "sqlite":
            found.append(str(tmp_path / f"{number}.db"))
        else:
            server = request.getfixturevalue("milvus_server")
            found.append(f"{server}/gallery_{uuid.uuid4().hex}")
    return found


@pytest.fixture
def gallery(addresses):
    with new_store(addresses[0], about=ABOUT) as store:
        store.add(make_images(), [IndexProgress("video_0.mp4", "1", next_frame=60)])
        store.add([], [IndexProgress("photo_3.jpg", "2"), IndexProgress("empty.jpg", "3")])
        store.delete("video_1.mp4")
        store.delete("photo_7.jpg")
        store.add([make_image(ROWS, "late.jpg")], [IndexProgress("late.jpg", "4")])
        yield store


def read(address):
    """Return all data of a gallery without ids, detections in their order."""
    with open_store(address) as store:
        detections = [
            {**vars(detection), "detection_id": 0, "embedding": detection.embedding.tolist()}
            for detection in store.scan(limit=10_000)
        ]
        sources = sorted(store.sources(), key=lambda source: source.path)
        return detections, sources, store.weights, store.about


def test_a_copy_is_the_same_gallery(addresses, gallery):
    told = []
    copied = copy_gallery(gallery, addresses[1], batch_size=20, on_copied=told.append)
    count = gallery.count()
    assert copied == CopyReport(count, 0, len(gallery.sources()))
    assert (sum(told), max(told)) == (count, 20)
    assert read(addresses[1]) == read(addresses[0])
    assert read(addresses[1])[2:] == (WEIGHTS, ABOUT)
    with open_store(addresses[1]) as copy:
        firsts = list(dict.fromkeys(detection.source for detection in gallery.scan(limit=10_000)))
        assert [source.path for source in copy.sources()] == [*firsts, "empty.jpg"]


def interrupted(calls, function=lambda *args: None):
    """Interrupt a function after so many calls."""
    left = iter(range(calls))

    def call(*args):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return function(*args)

    return call


@pytest.mark.parametrize("acknowledged", [True, False])
def test_an_interrupted_copy_is_continued(addresses, gallery, monkeypatch, acknowledged):
    """Interrupt after a stored batch, or on a server between its detections and its commit."""
    count = gallery.count()
    for number in (0, 1, 3):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            if not acknowledged:
                patch.setattr(SourceTable, "commit", interrupted(number, SourceTable.commit))
            on_copied = interrupted(number + acknowledged)
            copy_gallery(gallery, addresses[1], batch_size=9, on_copied=on_copied)
        with open_store(addresses[1]) as copy:  # an incomplete copy has no complete source
            assert not any(source.is_complete for source in copy.sources())
    last = copy_gallery(gallery, addresses[1], batch_size=50)
    assert 0 < last.detections < count == last.detections + last.present
    assert read(addresses[1]) == read(addresses[0])


def test_copying_again_adds_new_detections(addresses, gallery):
    copy_gallery(gallery, addresses[1])
    assert copy_gallery(gallery, addresses[1]).detections == 0
    more = [make_image(ROWS, "video_0.mp4", frame=60)]
    gallery.add(more, [IndexProgress("video_0.mp4", "1", next_frame=61, after=60)])
    gallery.add([make_image(ROWS[:2], "new.jpg")], [IndexProgress("new.jpg", "5")])
    copied = copy_gallery(gallery, addresses[1])
    assert (copied.detections, copied.present) == (9, gallery.count() - 9)
    assert read(addresses[1]) == read(addresses[0])


def test_a_copy_does_not_mix_galleries(addresses, gallery, tmp_path):
    with new_store(addresses[1]) as other:
        other.add([make_image(ROWS, "other.jpg")])
    with pytest.raises(InputError, match="holds other detections than"):
        copy_gallery(gallery, addresses[1])
    (tmp_path / "1").mkdir()
    with new_store(tmp_path / "1" / "a.db") as other:
        other.add([], [IndexProgress("photo_3.jpg", "another state")])
    with pytest.raises(InputError, match=r"photo_3.jpg: is indexed in another state"):
        copy_gallery(gallery, str(tmp_path / "1" / "a.db"))
    open_store(tmp_path / "1" / "b.db", weights="b" * 64, create=True).close()
    with pytest.raises(InputError, match="embeddings of different weights"):
        copy_gallery(gallery, str(tmp_path / "1" / "b.db"))


def test_a_change_during_the_copy_is_reported(addresses, gallery):
    def index_more(count):
        gallery.add([], [IndexProgress("meanwhile.jpg", "6")])

    with pytest.raises(InputError, match="changed during the copy"):
        copy_gallery(gallery, addresses[1], on_copied=index_more)
    copy_gallery(gallery, addresses[1])
    assert read(addresses[1]) == read(addresses[0])


def test_embeddings_are_copied_exactly(addresses):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 24)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with new_store(addresses[0]) as store:
        store.add([make_image(rows, time=1 / 3, camera="door")])
        copy_gallery(store, addresses[1])
        with open_store(addresses[1]) as copy:
            (mine, theirs) = store.search_ids(rows, 5), copy.search_ids(rows, 5)
            np.testing.assert_allclose(mine.similarities, theirs.similarities, atol=1e-6)
            assert (mine.ids == theirs.ids).all()
            assert [detection.embedding.tolist() for detection in copy.scan()] == rows.tolist()
            assert copy.sources() == [Source("a.jpg", None, None, 40)]


def test_tracklets_and_places_are_copied(tmp_path, store_address):
    with new_store(tmp_path / "original.db") as gallery:
        place = {"camera": "door", "start": 5.0, "start_from": "name"}
        gallery.add(make_images(), [IndexProgress("video_1.mp4", "state", **place)])
        for path in gallery.unlinked():
            link_by(gallery, path, lambda one: one.frame // 4 % 2)
        copy_gallery(gallery, store_address)
        with open_store(store_address) as copy:
            pairs = list(zip(gallery.list(), copy.list(), strict=True))
            ids = {one.detection_id: other.detection_id for one, other in pairs}
            for one, other in zip(gallery.tracklets(), copy.tracklets(), strict=True):
                changed = {
                    name: ids[getattr(one, name)] for name in ("tracklet_id", "best", "chain")
                }
                assert replace(one, **changed) == other
                members = gallery.list_members([one.tracklet_id])
                assert [ids[i] for i in members] == copy.list_members([other.tracklet_id])
            assert copy.unlinked() == []
            (source,) = [one for one in copy.sources() if one.path == "video_1.mp4"]
            assert (source.camera, source.start, source.start_from) == ("door", 5, "name")
        copy_gallery(gallery, store_address)
