"""Adds and deletes on Milvus that fail, are killed, or work on one source at once."""

import multiprocessing
import random
import signal
import sys
import time

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import (
    IndexConflict,
    IndexProgress,
    Source,
    milvus_detections,
    open_store,
)
from clsa_search.gallery.milvus_detections import DetectionTable
from clsa_search.gallery.milvus_table import Table
from tests.support.store_cases import make_embeddings, make_image, make_images, new_store

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["clsa_search.gallery", "pymilvus", "pytest"])
ROWS = make_embeddings(7)


@pytest.fixture
def store(milvus_address):
    with new_store(milvus_address) as store:
        yield store


def add_frames(address, path):
    """Continue to index a video without end, 7 detections in each frame."""
    with new_store(address) as store:
        known = {source.path: source.next_frame for source in store.sources()}
        frame = known.get(path)
        while True:
            progress = IndexProgress(path, "1", (frame or 0) + 1, after=frame)
            store.add([make_image(ROWS, path, frame=frame or 0)], [progress])
            frame = (frame or 0) + 1


def test_a_killed_process_leaves_nothing_twice(milvus_address, store):
    store.add([make_image(ROWS, "other.jpg")])
    chance = random.Random(0)
    for _ in range(4):
        before = store.count()
        process = PROCESSES.Process(target=add_frames, args=(milvus_address, "v.mp4"))
        process.start()
        while store.count() == before:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        time.sleep(0.3)  # the server completes the last request
    store.remove_partial()
    (_, video) = store.sources()
    assert video.detections == 7 * video.next_frame == store.count() - 7
    detections = [one for one in store.scan(limit=10_000) if one.source == "v.mp4"]
    assert [one.frame for one in detections] == sorted(7 * list(range(video.next_frame)))


def fail(*args, **options):
    raise InputError("the cable was pulled")


def test_an_interrupted_add_is_undone_by_the_next(milvus_address, store, monkeypatch):
    store.add([make_image(ROWS, "v.mp4", frame=0)])  # without progress
    interrupted = [make_image(ROWS, "v.mp4", frame=1), make_image(ROWS, "new.mp4", frame=0)]
    with monkeypatch.context() as patch:
        patch.setattr(store._sources, "commit", fail)
        with pytest.raises(InputError, match="cable"):
            store.add(interrupted, [IndexProgress("new.mp4", "1", 1)])
    assert store.count() == 21
    assert store.sources() == [Source("v.mp4", None, None, 7)]
    with new_store(milvus_address) as other:
        other.add([make_image(ROWS[:2], "v.mp4", frame=1)])
        assert other.count() == 16
        other.add([], [IndexProgress("new.mp4", "1", 1)])
        assert other.sources() == [Source("v.mp4", None, None, 9), Source("new.mp4", "1", 1, 0)]
        assert [d.frame for d in other.scan() if d.source == "v.mp4"] == [0] * 7 + [1] * 2
        assert other.count() == 9


def test_detections_of_an_interrupted_add_can_be_removed(store, monkeypatch):
    insert = Table.insert
    answers = iter([insert, fail])
    with monkeypatch.context() as patch:
        patch.setattr(milvus_detections, "_REQUEST_BYTES", 5 * 16 * 4)
        patch.setattr(Table, "insert", lambda *args: next(answers)(*args))
        with pytest.raises(InputError, match="cable"):
            store.add([make_image(ROWS)])
    assert store.count() == 5
    assert store.remove_partial() == 5
    assert store.remove_partial() == store.count() == 0
    assert store.add([make_image(ROWS)]).shape == (7,)


def test_large_batches_are_sent_in_pieces(store, monkeypatch):
    monkeypatch.setattr(milvus_detections, "_REQUEST_BYTES", 5 * 16 * 4)
    monkeypatch.setattr(milvus_detections, "_READ_ROWS", 9)
    images = make_images()
    stored = store.get(store.add(images))
    sources = [image.source for image in images for _ in image.detections.scores]
    assert [detection.source for detection in stored] == sources
    assert (stored[-1].embedding == images[-1].detections.embeddings[-1]).all()


def test_of_two_adds_to_one_source_the_first_raises_a_conflict(milvus_address, store, monkeypatch):
    """Begin the second add while the first one inserts."""
    insert = Table.insert

    def insert_late(table, rows):
        monkeypatch.setattr(Table, "insert", insert)
        with new_store(milvus_address) as other:
            other.add([make_image(ROWS[:2], "v.mp4", frame=0)], [IndexProgress("v.mp4", "1", 1)])
        return insert(table, rows)

    monkeypatch.setattr(Table, "insert", insert_late)
    images = [make_image(ROWS, "a.jpg"), make_image(ROWS, "v.mp4", frame=0)]
    with pytest.raises(IndexConflict) as error:
        store.add(images, [IndexProgress("a.jpg", "1"), IndexProgress("v.mp4", "1", 1)])
    assert error.value.sources == ["v.mp4"]
    assert store.sources() == [Source("v.mp4", "1", 1, 2)]
    assert store.count() == 2
    store.add(images[:1], [IndexProgress("a.jpg", "1")])
    assert sorted(store.sources(), key=lambda s: s.path)[0] == Source("a.jpg", "1", None, 7)


def test_an_interrupted_delete_leaves_no_complete_source(store, monkeypatch):
    store.add([make_image(ROWS, "p.jpg")], [IndexProgress("p.jpg", "1")])
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Table, "delete", fail)
            with pytest.raises(InputError, match="cable"):
                store.delete("p.jpg")
        # still listed: its detections are still found, and the deletion can be repeated
        assert [(one.path, one.is_complete) for one in store.sources()] == [("p.jpg", False)]
    store.add([make_image(ROWS[:3], "p.jpg")], [IndexProgress("p.jpg", "1")])
    assert (store.count(), store.delete("p.jpg"), store.count()) == (3, 3, 0)


def test_detections_are_stored_once_if_an_answer_is_lost(store, monkeypatch):
    class LostAnswer(pytest.importorskip("grpc").RpcError):
        def code(self):
            return sys.modules["grpc"].StatusCode.UNAVAILABLE

        def details(self):
            return "broken off"

    store.add([make_image(ROWS[:1], "first.jpg")])
    stub = store._client._get_connection()._stub
    calls = []

    def insert(*args, **options):
        calls.append(args)
        raise LostAnswer

    monkeypatch.setattr(stub, "Insert", insert)
    with pytest.raises(InputError, match="cannot add.*broken off"):
        store.add([make_image(ROWS)])
    assert len(calls) == 1


def test_a_search_drops_detections_deleted_meanwhile(store, monkeypatch):
    store.add([make_image(ROWS, "a.jpg"), make_image(ROWS[:3], "b.jpg")])
    read = DetectionTable.read

    def delete_first(table, ids):
        store.delete("a.jpg")
        return read(table, ids)

    monkeypatch.setattr(DetectionTable, "read", delete_first)
    (matches,) = store.search(ROWS[:1], 20)
    assert [match.detection.source for match in matches] == ["b.jpg"] * 3
    store.add([make_image(ROWS, "a.jpg")])
    assert [detection.source for detection in store.list()] == ["b.jpg"] * 3


def delete_source(address, path, answers):
    with open_store(address) as store:
        answers.put((store.delete(path), store.delete(path), store.count()))


def test_a_new_process_deletes(milvus_address, store):
    """It has loaded no collection before."""
    store.add([make_image(ROWS, "v.mp4", frame=0), make_image(ROWS, "other.jpg")])
    answers = PROCESSES.Queue()
    process = PROCESSES.Process(target=delete_source, args=(milvus_address, "v.mp4", answers))
    process.start()
    assert answers.get(timeout=60) == (7, 0, 7)
    process.join(60)
    assert [source.path for source in store.sources()] == ["other.jpg"]


def test_an_interrupted_deletion_is_listed_and_repeated(store, monkeypatch):
    store.add([make_image(ROWS, "v.mp4", frame=0)])

    def fail(table, condition):
        raise InputError("cannot delete")

    with monkeypatch.context() as patch:
        patch.setattr(DetectionTable, "delete", fail)
        with pytest.raises(InputError, match="cannot delete"):
            store.delete("v.mp4")
    (source,) = store.sources()
    assert source.path == "v.mp4" and not source.is_complete
    assert store.delete("v.mp4") == 7
    assert store.sources() == [] and store.count() == 0
