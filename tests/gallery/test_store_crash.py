"""The gallery store under several writers, kill -9 and a full disk: acknowledged data stays."""

import multiprocessing
import random
import resource
import signal
import sqlite3
import time

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import IndexProgress, open_store
from tests.support.old_galleries import make_version_3, make_version_4, make_version_5
from tests.support.store_cases import limit_disk, make_embeddings, make_image, new_store

# children start within milliseconds: they are forked off a process that has imported everything
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["clsa_search.gallery", "pytest"])
ROWS = make_embeddings(7)


def add_forever(folder, acknowledged, writer, batches=None):
    """Send the ids of each stored batch: 7 detections of two images."""
    with new_store(folder / "gallery.db") as store:
        number = 0
        while number != batches:
            images = [make_image(ROWS[:3], f"{writer}.mp4", frame=2 * number)]
            images.append(make_image(ROWS[3:], f"{writer}.mp4", frame=2 * number + 1))
            acknowledged.send(store.add(images).tolist())
            number += 1


def fill_disk(folder, acknowledged):
    """Add until files may not grow any more; send the ids, then the error."""
    with new_store(folder / "gallery.db") as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            while True:
                acknowledged.send(store.add([make_image(make_embeddings(50, 256))]).tolist())
        except InputError as error:
            acknowledged.send(str(error))


def start(function, *args):
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=function, args=(args[0], sender, *args[1:]))
    process.start()
    sender.close()
    return process, receiver


def drain(receiver):
    """All messages of a process that has ended."""
    messages = []
    while receiver.poll():
        try:
            messages.append(receiver.recv())
        except EOFError:
            break
    receiver.close()
    return messages


def stored_ids(folder):
    """After a check of the whole file."""
    connection = sqlite3.connect(folder / "gallery.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    ids = {row for (row,) in connection.execute("SELECT id FROM detections")}
    connection.close()
    return ids


def test_two_processes_may_create_and_fill_a_gallery_at_once(tmp_path):
    writers = [start(add_forever, tmp_path, writer, 40) for writer in (0, 1)]
    ids = []
    for process, receiver in writers:
        process.join(60)
        assert process.exitcode == 0
        ids += sum(drain(receiver), [])
    assert sorted(ids) == list(range(1, 2 * 40 * 7 + 1))
    with open_store(tmp_path / "gallery.db") as store:
        assert {source.path: source.detections for source in store.sources()} == {
            "0.mp4": 280,
            "1.mp4": 280,
        }
        assert store.search_ids(ROWS, 1000).ids.shape == (7, 560)


def test_acknowledged_detections_survive_kill_9(tmp_path):
    chance = random.Random(0)
    acknowledged = set()
    for number in range(20):
        process, receiver = start(add_forever, tmp_path, number)
        first = receiver.recv()  # it is at work
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        acknowledged.update(sum(drain(receiver), first))
        stored = stored_ids(tmp_path)
        assert acknowledged <= stored
        # at most one batch was on disk before it could be acknowledged, and that one whole
        assert len(stored) % 7 == 0
        assert len(stored - acknowledged) <= 7 * (number + 1)
    with open_store(tmp_path / "gallery.db") as store:
        assert len(store.sources()) == 20
        found = store.search_ids(ROWS[:1], 10**6)
        assert sorted(found.ids[0].tolist()) == sorted(stored)
        for detection in store.get(sorted(stored)[-7:]):
            assert (detection.embedding == ROWS[(detection.detection_id - 1) % 7]).all()


def test_a_full_disk_is_named_and_loses_nothing(tmp_path):
    process, receiver = start(fill_disk, tmp_path)
    messages = []
    while not messages or isinstance(messages[-1], list):
        messages.append(receiver.recv())
    process.join(60)
    *batches, error = messages
    assert str(tmp_path / "gallery.db") in error
    assert "cannot add" in error and "disk" in error and "is kept" in error
    assert stored_ids(tmp_path) == set(sum(batches, []))
    assert batches
    with new_store(tmp_path / "gallery.db") as store:  # there is room again
        assert store.add([make_image(make_embeddings(2, 256))])[0] == len(sum(batches, [])) + 1


def test_a_store_works_on_after_a_full_disk(tmp_path):
    with new_store(tmp_path / "gallery.db") as store:
        store.add([make_image(ROWS)])
        limit_disk(store)
        large = [make_image(make_embeddings(5000), "large.mp4")]
        with pytest.raises(InputError, match="gallery.db: cannot add: database or disk is full"):
            store.add(large)
        assert store.count() == 7
        assert store.search_ids(ROWS, 100).ids.shape == (7, 7)
        limit_disk(store, 1_000_000)
        assert store.add(large)[0] == 8
        assert store.search_ids(ROWS, 10**4).ids.shape == (7, 5007)


def open_and_report(folder, opened):
    with open_store(folder / "gallery.db") as store:
        opened.send(store.count())


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_killed_step_to_the_next_version_changes_nothing(tmp_path, version):
    """Kill the opening of an old gallery at random moments; then let it end."""
    path, chance = tmp_path / "gallery.db", random.Random(version)
    rows = make_embeddings(200)
    with new_store(path) as store:
        progress = [IndexProgress(f"{i}.jpg", f"1 bytes, boxes {i:016x}") for i in range(50)]
        store.add([make_image(rows, f"{i}.jpg") for i in range(100)], progress)
        expected = store.search_ids(ROWS, 50)
    {3: make_version_3, 4: make_version_4, 5: make_version_5}[version](path)
    for _ in range(8):
        process, receiver = start(open_and_report, tmp_path)
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        process.join(60)
        assert set(drain(receiver)) <= {20_000}
    assert stored_ids(tmp_path) == set(range(1, 20_001))
    with open_store(path) as store:
        assert (store.search_ids(ROWS, 50).ids == expected.ids).all()
        assert store.count_tracklets() == 20_000
        assert (store.search_tracklets(ROWS, 50).ids == expected.ids).all()
        origins = [one.origin for one in store.list()]
        assert origins == 10_000 * ["file"] + 10_000 * ["model"]
