"""Erased people stay away: other rates and weights, moves, copies; nothing of them is kept."""

import os
import shutil

import numpy as np
import pytest

from clsa_search.gallery import Filter, copy_gallery, open_store
from clsa_search.retrieval.deletions import DeletionSelector, plan_deletion, run_deletion
from clsa_search.retrieval.erased_places import make_places
from clsa_search.retrieval.erasure import (
    Suppression,
    find_erased,
    hash_content,
    merge_erasures,
)
from clsa_search.retrieval.note_transfer import copy_notes
from clsa_search.retrieval.watch_list import add_person, list_people
from tests.support.footage import WIDTH, BlockPredictor, embed_color, write_video
from tests.support.sighting_cases import find_sighting, index_again, make_gallery

ENGINES = ["{}/gallery.db", "milvus-lite://{}/gallery.db"]


class NoisyPredictor(BlockPredictor):
    """Blocks with embeddings that differ from frame to frame, and boxes larger by a share."""

    def __init__(self, weights="b" * 64, margin=0.0):
        super().__init__()
        self.weights_sha256, self._margin = weights, margin

    def detect(self, images):
        found = super().detect(images)
        for one in found:
            width, height = (one.boxes[:, 2:] - one.boxes[:, :2]).T
            grow = self._margin * np.stack([-width, -height, width, height], axis=1)
            one.boxes[:] = one.boxes + grow
            noise = np.random.default_rng(self.num_images).normal(size=(len(one), WIDTH))
            rows = one.embeddings + 0.05 * noise
            one.embeddings[:] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return found


@pytest.fixture
def footage(tmp_path):
    """Two cameras; person 3 walks through both and turns around, person 1 and 0 stand apart."""
    folder = tmp_path / "footage"
    way = [2 * min(i, 60 - i) for i in range(60)]
    write_video(folder / "north" / "a.avi", [{3: x, 1: 80} for x in way])
    write_video(folder / "south" / "b.avi", [{3: 40 - x // 2, 0: 80} for x in way])
    return folder


def erase(store, color):
    sightings = [
        one.tracklet_id
        for one in store.tracklets(embeddings=True)
        if one.embedding.argmax() == color
    ]
    plan = plan_deletion(store, DeletionSelector(sightings=sightings))
    return run_deletion(store, plan, force=True, erase=True)


def colors(store):
    return {int(one.embedding.argmax()) for one in store.list()}


def touch(folder):
    for path in folder.rglob("*.avi"):
        os.utime(path, ns=(1, 1))


def read_all(folder):
    """Return the bytes of all files of a gallery."""
    names = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".avi"]
    return b"".join(path.read_bytes() for path in names)


@pytest.mark.parametrize("form", ENGINES)
@pytest.mark.parametrize(("first", "later"), [(1, 10), (0.5, 5), (5, 1), (0.2, 2)])
def test_other_rates_find_nobody(tmp_path, footage, form, first, later):
    address = form.format(tmp_path)
    with make_gallery(address, footage, predictor=NoisyPredictor(), rate=first) as store:
        assert colors(store) == {0, 1, 3}
        secrets = [one.embedding.tobytes() for one in store.list() if one.embedding.argmax() == 3]
        erase(store, 3)
        touch(footage)
        index_again(store, footage, predictor=NoisyPredictor(), rate=later)
        if first < 0.5:  # within five seconds, anybody in this small image may be the person
            assert 3 not in colors(store)
        else:
            assert colors(store) == {0, 1}
            assert store.count(Filter(cameras=["north"])) >= 6 * later - 1
        store.scrub()
    disk = read_all(tmp_path)
    assert secrets and not any(one in disk for one in secrets)


@pytest.mark.parametrize("margin", [-0.1, 0.15, 0.3])
def test_other_weights_find_nobody(tmp_path, footage, margin):
    with make_gallery(tmp_path / "old.db", footage) as old:
        erase(old, 3)
        other = NoisyPredictor("e" * 64, margin)
        with make_gallery(tmp_path / "new.db", footage, predictor=other, rate=2) as new:
            assert colors(new) == {0, 1, 3}  # another gallery does not know
            found = find_erased(new, Suppression(new, old))
            assert {int(one.embedding.argmax()) for one in new.get(found)} == {3}
            assert merge_erasures(new, old) == 2 and merge_erasures(new, old) == 0
            new.delete_detections(found)
            touch(footage)
            index_again(new, footage, predictor=other, rate=5)
            assert colors(new) == {0, 1}


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_moved_and_copied_files_are_known(tmp_path, footage, move):
    with make_gallery(tmp_path / "gallery.db", footage) as store:
        erase(store, 3)
        move(footage, tmp_path / "archive")
        assert index_again(store, tmp_path / "archive", rate=2).images
        assert colors(store) == {0, 1}


@pytest.mark.parametrize("form", ENGINES)
def test_a_copy_knows_the_erased_people_of_both(tmp_path, footage, form):
    copied = form.format(tmp_path / "copy")
    (tmp_path / "copy").mkdir()
    with make_gallery(tmp_path / "gallery.db", footage) as store:
        erase(store, 0)
        copy_gallery(store, copied)
        with open_store(copied, weights=store.weights) as copy:
            copy_notes(store, copy)
            erase(copy, 3)
            assert colors(store) == {1, 3}
            copy_notes(store, copy)  # as `copy` does again
            assert find_erased(store, Suppression(copy)) != []
            touch(footage)
            index_again(copy, footage, rate=5)
            assert colors(copy) == {1}


def test_references_of_an_erased_person_go_too(tmp_path, footage):
    with make_gallery(tmp_path / "gallery.db", footage, predictor=NoisyPredictor()) as store:
        sighting = find_sighting(store, 3, "a.avi")
        add_person(store, "Ann", sighting.embedding[None])
        erase(store, 3)
        assert [len(one.examples) for one in list_people(store)] == [0]
    assert sighting.embedding.tobytes() not in read_all(tmp_path)


def test_content_tells_files_apart(tmp_path):
    for name, content in (("a", b"1" * 3_000_000), ("b", b"1" * 3_000_000), ("c", b"1" * 3)):
        (tmp_path / name).write_bytes(content)
    hashes = [hash_content(str(tmp_path / name)) for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hash_content(str(tmp_path / "none")) is None


def test_places_grow_between_detections_and_end_after_them():
    boxes = [(0.0, (0.0, 0.0, 10.0, 30.0)), (2.0, (40.0, 0.0, 50.0, 30.0))]
    places = make_places(boxes, interval=2.0)

    def is_held(time, x):
        box = (x, 0.0, x + 10.0, 30.0)
        return any(one.start <= time <= one.stop and one.holds(box) for one in places)

    assert is_held(0, 0) and is_held(1, 20) and is_held(2, 40)
    assert is_held(1, 28) and not is_held(1, 45)  # off the straight way
    assert is_held(2.9, 58) and is_held(4.9, 98) and not is_held(5.1, 102)  # 1.5 intervals
    assert is_held(-1, -20) and not is_held(2.5, 0)


def test_embeddings_of_others_stay(tmp_path, footage):
    with make_gallery(tmp_path / "gallery.db", footage) as store:
        erase(store, 3)
    assert embed_color(1).astype(np.float32).tobytes() in read_all(tmp_path)
