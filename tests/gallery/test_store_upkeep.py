"""Upkeep of a gallery in both engines: places of sources; deleted bytes leave the disk."""

from pathlib import Path

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, IndexProgress, Placement, open_store
from clsa_search.gallery.milvus_tracklet_table import TrackletTable
from tests.support.store_cases import make_embeddings, make_image, make_images, new_store

FORMS = ["{}/street.db", "milvus-lite://{}/street.db"]


def read_disk(address):
    """Return all bytes of a gallery's files."""
    path = Path(address.removeprefix("milvus-lite://"))
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}*")
    return b"".join(one.read_bytes() for one in files if one.is_file())


def make_secret():
    rows = np.random.default_rng(7).normal(size=(3, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return make_image(rows, "secret_file.mp4", frame=1, time=1.0, camera="secret_camera")


@pytest.mark.parametrize("form", FORMS)
def test_deleted_bytes_leave_the_disk(tmp_path, form):
    store_address = form.format(tmp_path)
    secret = make_secret()
    parts = [
        b"secret_file",
        b"secret_camera",
        *(row.tobytes() for row in secret.detections.embeddings),
    ]
    with new_store(store_address) as store:
        store.add(make_images(20))
        store.add([secret])
        count = store.count()
        assert all(part in read_disk(store_address) for part in parts)
        assert store.delete("secret_file.mp4") == 3
        store.scrub()
        assert not any(part in read_disk(store_address) for part in parts)
        assert store.count() == count - 3
        store.scrub(vacuum=True)
    with open_store(store_address) as store:
        assert store.count() == count - 3
        assert not any(part in read_disk(store_address) for part in parts)


VIDEO, NEW = "video_1.mp4", Placement("gate", 1000.0, "name")


def list_times(store, source):
    return [(one.frame, one.time, one.camera) for one in store.list(Filter(sources=[source]))]


@pytest.mark.parametrize("form", FORMS)
def test_a_place_changes_detections_and_tracklets(tmp_path, form):
    with new_store(form.format(tmp_path)) as store:
        store.add(make_images(20), [IndexProgress(VIDEO, "old")])
        before, others = list_times(store, VIDEO), list_times(store, "video_2.mp4")
        assert store.place(VIDEO, NEW, "new", base=0.5) == len(before)
        after = [(frame, time - 0.5 + 1000, "gate") for frame, time, _ in before]
        assert list_times(store, VIDEO) == after
        assert list_times(store, "video_2.mp4") == others
        tracklets = store.tracklets(Filter(sources=[VIDEO]))
        assert [(one.first_frame, one.first, one.camera) for one in tracklets] == after
        assert VIDEO in store.unlinked()
        (source,) = [one for one in store.sources() if one.path == VIDEO]
        assert (source.camera, source.start, source.start_from) == NEW
        assert source.fingerprint == "new"
        store.place(VIDEO, Placement(None, None, None), "new")  # the base is the start now
        assert list_times(store, VIDEO) == [(f, t - 1000, None) for f, t, _ in after]
        with pytest.raises(InputError, match=r"none\.mp4: is not indexed"):
            store.place("none.mp4", NEW, None)


@pytest.mark.parametrize("form", FORMS)
def test_images_get_the_time_itself(tmp_path, form):
    with new_store(form.format(tmp_path)) as store:
        store.add([make_image(make_embeddings(2), "a.jpg")])
        store.place("a.jpg", NEW, None)
        assert list_times(store, "a.jpg") == [(None, 1000, "gate")] * 2
        assert [one.last for one in store.tracklets()] == [1000, 1000]
        assert store.unlinked() == []
        store.place("a.jpg", Placement("gate", None, None), None)
        assert list_times(store, "a.jpg") == [(None, None, "gate")] * 2


def test_a_place_of_a_killed_process_is_completed(tmp_path, monkeypatch):
    with new_store(f"milvus-lite://{tmp_path}/street.db") as store:
        store.add(make_images(20))
        before = list_times(store, VIDEO)
        with monkeypatch.context() as patch:
            patch.setattr(TrackletTable, "delete", None)  # after the detections changed
            with pytest.raises(TypeError):
                store.place(VIDEO, NEW, None)
        store.place(VIDEO, Placement("yard", 5000.0, "given"), None)
        assert list_times(store, VIDEO) == [(f, t + 5000, "yard") for f, t, _ in before]
        assert store.count_tracklets() == store.count()
