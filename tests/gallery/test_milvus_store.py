"""What is Milvus' own in a gallery there: addresses, claims of sources, pages of hits, faults."""

import multiprocessing
import os
import random
import signal
import sys
import time
import uuid

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import (
    Filter,
    IndexConflict,
    IndexProgress,
    Source,
    milvus_detections,
    milvus_ranking,
    milvus_server,
    milvus_sources,
    milvus_store,
    milvus_table,
    open_store,
)
from clsa_search.gallery.milvus_table import Table
from tests.support.store_cases import (
    WEIGHTS,
    draw_rows,
    draw_scenes,
    make_scene,
    new_store,
    search_literally,
)

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["clsa_search.gallery", "pymilvus", "pytest"])
ROWS = draw_rows(7)
SEARCH = Table.search


@pytest.fixture
def address(milvus_server):
    return f"{milvus_server}/gallery_{uuid.uuid4().hex}"


@pytest.fixture
def store(address):
    with new_store(address) as store:
        yield store


def add_frames(address, path):
    """Index a video that never ends from where it was left, 7 people in each frame."""
    with new_store(address) as store:
        known = {source.path: source.next_frame for source in store.sources()}
        frame = known.get(path)
        while True:
            progress = IndexProgress(path, "1", (frame or 0) + 1, after=frame)
            store.add([make_scene(ROWS, path, frame=frame or 0)], [progress])
            frame = (frame or 0) + 1


def test_a_killed_process_leaves_nothing_twice(address, store):
    store.add([make_scene(ROWS, "other.jpg")])
    chance = random.Random(0)
    for _ in range(4):
        before = store.count()
        process = PROCESSES.Process(target=add_frames, args=(address, "v.mp4"))
        process.start()
        while store.count() == before:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        time.sleep(0.3)  # the server still does what it was told last
    store.remove_partial()
    (_, video) = store.sources()
    assert video.detections == 7 * video.next_frame == store.count() - 7
    frames = [entry.frame for entry in store.scan(limit=10_000) if entry.source == "v.mp4"]
    assert frames == sorted(7 * list(range(video.next_frame)))


def fail(*args, **options):
    raise InputError("the cable was pulled")


def test_an_interrupted_add_is_undone_by_the_next(address, store, monkeypatch):
    store.add([make_scene(ROWS, "v.mp4", frame=0)])  # nobody keeps progress
    interrupted = [make_scene(ROWS, "v.mp4", frame=1), make_scene(ROWS, "new.mp4", frame=0)]
    with monkeypatch.context() as patch:
        patch.setattr(store._sources, "commit", fail)
        with pytest.raises(InputError, match="cable"):
            store.add(interrupted, [IndexProgress("new.mp4", "1", 1)])
    assert store.count() == 21
    assert store.sources() == [Source("v.mp4", None, None, 7)]
    with new_store(address) as other:
        other.add([make_scene(ROWS[:2], "v.mp4", frame=1)])
        assert other.count() == 16
        other.add([], [IndexProgress("new.mp4", "1", 1)])
        assert other.sources() == [Source("v.mp4", None, None, 9), Source("new.mp4", "1", 1, 0)]
        assert [e.frame for e in other.scan() if e.source == "v.mp4"] == [0] * 7 + [1] * 2
        assert other.count() == 9


def test_leftovers_can_be_removed_without_adding(store, monkeypatch):
    insert = Table.insert
    answers = iter([insert, fail])
    with monkeypatch.context() as patch:
        patch.setattr(milvus_detections, "_REQUEST_BYTES", 5 * 16 * 4)
        patch.setattr(Table, "insert", lambda *args: next(answers)(*args))
        with pytest.raises(InputError, match="cable"):
            store.add([make_scene(ROWS)])
    assert store.count() == 5
    assert store.remove_partial() == 5
    assert store.remove_partial() == store.count() == 0
    assert store.add([make_scene(ROWS)]).shape == (7,)


def test_large_batches_are_sent_in_pieces(store, monkeypatch):
    monkeypatch.setattr(milvus_detections, "_REQUEST_BYTES", 5 * 16 * 4)
    monkeypatch.setattr(milvus_detections, "_READ_ROWS", 9)
    scenes = draw_scenes()
    entries = store.get(store.add(scenes))
    assert [entry.source for entry in entries] == [
        s.source for s in scenes for _ in s.detections.scores
    ]
    assert (entries[-1].embedding == scenes[-1].detections.embeddings[-1]).all()


def test_of_two_adds_to_one_source_the_first_gives_way(address, store, monkeypatch):
    """The second claims the source while the first inserts."""
    insert = Table.insert

    def insert_late(table, rows):
        monkeypatch.setattr(Table, "insert", insert)
        with new_store(address) as other:
            other.add([make_scene(ROWS[:2], "v.mp4", frame=0)], [IndexProgress("v.mp4", "1", 1)])
        return insert(table, rows)

    monkeypatch.setattr(Table, "insert", insert_late)
    scenes = [make_scene(ROWS, "a.jpg"), make_scene(ROWS, "v.mp4", frame=0)]
    with pytest.raises(IndexConflict) as error:
        store.add(scenes, [IndexProgress("a.jpg", "1"), IndexProgress("v.mp4", "1", 1)])
    assert error.value.sources == ["v.mp4"]
    assert store.sources() == [Source("v.mp4", "1", 1, 2)]
    assert store.count() == 2
    store.add(scenes[:1], [IndexProgress("a.jpg", "1")])
    assert sorted(store.sources(), key=lambda s: s.path)[0] == Source("a.jpg", "1", None, 7)


def test_an_interrupted_delete_leaves_no_source_that_passes_for_complete(store, monkeypatch):
    store.add([make_scene(ROWS, "p.jpg")], [IndexProgress("p.jpg", "1")])
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Table, "delete", fail)
            with pytest.raises(InputError, match="cable"):
                store.delete("p.jpg")
        assert store.sources() == []
    store.add([make_scene(ROWS[:3], "p.jpg")], [IndexProgress("p.jpg", "1")])
    assert (store.count(), store.delete("p.jpg"), store.count()) == (3, 3, 0)


def search_unkindly(table, queries, limit, condition, fields):
    """Of equal rows those with the highest ids, and in this order."""
    found = SEARCH(table, queries, 1000, condition, fields)
    ranked = [sorted(hits, key=lambda hit: (-hit["distance"], -hit["id"])) for hits in found]
    return [hits[:limit] for hits in ranked]


@pytest.mark.parametrize("per", ["match", "image"])
def test_a_ranking_is_exact_over_many_pages(store, monkeypatch, per):
    monkeypatch.setattr(Table, "search", search_unkindly)
    monkeypatch.setattr(milvus_ranking, "_SPARE", 0)
    monkeypatch.setattr(milvus_ranking, "_IMAGE_SHARE", 1)
    monkeypatch.setattr(milvus_ranking, "_BLOCK_HITS", 40)
    queries = draw_rows(5, seed=77)
    entries = store.get(store.add(draw_scenes()))
    for k in (1, 2, 7, 30):
        found = store.search_ids(queries, k, per=per)
        expected = search_literally(entries, queries, k, per=per)
        assert found.ids.tolist() == [[row for row, _ in answer] for answer in expected]


def test_images_with_more_people_than_a_page_holds(store, monkeypatch):
    for module in (milvus_ranking, milvus_store):
        monkeypatch.setattr(module, "MAX_ROWS", 8)
    query = ROWS[:1]
    crowd = make_scene(query.repeat(20, axis=0), "crowd.jpg")
    ids = store.add([crowd, *(make_scene(ROWS, f"{i}.jpg") for i in range(3))])
    found = store.search_ids(query, 8, per="image")
    firsts = {entry.source for entry in store.get(found.ids[0])}
    assert firsts == {"crowd.jpg", "0.jpg", "1.jpg", "2.jpg"}
    assert found.ids[0, 1:].tolist() == [ids[20], ids[27], ids[34]]
    with pytest.raises(InputError, match="k: 9; expected at most 8"):
        store.search_ids(query, 9)


def test_any_text_may_be_a_name(store):
    names = ['"', "'; drop", "a\\", "{x}", "ü\n\t%", "x" * 5000, "x" * 4999 + "y", "日本"]
    for name in names:
        store.add(
            [make_scene(ROWS[:1], f"{name}.jpg", camera=name)], [IndexProgress(f"{name}.jpg", name)]
        )
    for name in names:
        for where in (Filter(cameras=[name]), Filter(sources=[f"{name}.jpg"])):
            (detection_id,) = store.search_ids(ROWS[:1], 100, where).ids[0]
            (entry,) = store.get([detection_id])
            assert (entry.camera, entry.source) == (name, f"{name}.jpg")
    assert store.cameras() == sorted(names)
    assert [source.fingerprint for source in store.sources()] == names
    assert [store.delete(f"{name}.jpg") for name in names] == [1] * len(names)


@pytest.mark.parametrize(
    ("where", "count"),
    [
        (Filter(since=float("-inf"), until=float("inf")), 1),  # whose time is known
        (Filter(since=float("inf")), 0),
        (Filter(until=float("nan")), 0),
        (Filter(cameras=[]), 0),
        (Filter(), 2),
    ],
)
def test_unusual_filters(tmp_path, address, where, count):
    for place in (tmp_path / "gallery.db", address):
        with new_store(place) as store:
            store.add([make_scene(ROWS[:1], time=-3.5), make_scene(ROWS[:1], "b.jpg", camera="x")])
            assert store.count(where) == store.search_ids(ROWS, 9, where).ids.shape[1] == count


def test_people_are_not_stored_twice_when_an_answer_gets_lost(store, monkeypatch):
    class LostAnswer(pytest.importorskip("grpc").RpcError):
        def code(self):
            return sys.modules["grpc"].StatusCode.UNAVAILABLE

        def details(self):
            return "broken off"

    store.add([make_scene(ROWS[:1], "first.jpg")])
    stub = store._client._get_connection()._stub
    calls = []

    def insert(*args, **options):
        calls.append(args)
        raise LostAnswer

    monkeypatch.setattr(stub, "Insert", insert)
    with pytest.raises(InputError, match="cannot add.*broken off"):
        store.add([make_scene(ROWS)])
    assert len(calls) == 1


def test_a_gallery_that_was_half_made_is_completed(address, store):
    server, _, name = address.rpartition("/")
    half = f"{server}/half_{name}"
    client, gallery = milvus_server.connect(half, create=True)
    table = Table(client, half, f"{gallery}_sources")
    table.create(milvus_sources.FIELDS)
    with pytest.raises(InputError, match="is not a gallery"):
        open_store(half)
    with new_store(half) as made:
        assert made.add([make_scene(ROWS)]).shape == (7,)


def test_galleries_of_another_version_are_refused(address, store):
    store._sources.write_about('{"version": 99}')
    with pytest.raises(InputError, match="is a gallery of version 99; expected version 2"):
        open_store(address)


@pytest.mark.parametrize(
    ("address", "options", "words"),
    [
        (
            "http://127.0.0.1:1/street",
            {},
            "127.0.0.1:1/street: cannot connect: .*expected a Milvus",
        ),
        ("http://me:secret@host/street", {}, "@host: holds a password; expected.*MILVUS_TOKEN"),
        ("http://host/a/b", {}, "expected http://HOST:PORT/GALLERY"),
        ("http://host:19530?db=x", {}, "expected http://HOST:PORT/GALLERY"),
        ("http://", {}, "expected http://HOST:PORT/GALLERY"),
        ("https://host/my street", {}, "GALLERY of letters, digits and _"),
        ("milvus-lite://trial", {}, "milvus-lite://FILE.db"),
        ("milvus-lite://trial.db", {}, "trial.db: there is no gallery"),
        ("milvus-lite://trial.db", {"create": True}, "weights: None; expected"),
    ],
)
def test_addresses_that_cannot_be_opened(tmp_path, monkeypatch, address, options, words):
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    monkeypatch.setattr(milvus_server, "_CONNECT_SECONDS", 0.5)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words) as error:
        open_store(address, **options)
    assert "secret" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_gallery_is_not_made_by_looking(address):
    for options in ({}, {"weights": WEIGHTS}):
        with pytest.raises(InputError, match="there is no gallery"):
            open_store(address, **options)


@pytest.mark.parametrize("package", ["pymilvus", "milvus_lite"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, package):
    if package != "pymilvus":
        pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}.*pip install 'clsa_search\[milvus\]'"):
        new_store(f"milvus-lite://{tmp_path}/trial.db")


def test_the_token_comes_from_the_environment(monkeypatch):
    pymilvus = pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    called = []
    monkeypatch.setattr(pymilvus, "MilvusClient", lambda *args, **named: called.append(named))
    monkeypatch.setenv("MILVUS_TOKEN", "root:secret")
    milvus_server.connect("https://host:1/street", create=False)
    assert called[0]["token"] == "root:secret"


def test_a_file_of_milvus_lite(tmp_path, monkeypatch):
    lite = pytest.importorskip("milvus_lite.server_manager", reason="milvus-lite is not installed")
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(milvus_table, "_WAIT_SECONDS", 0.5)
    store = new_store("milvus-lite://folder/trial.db", about={"a": "b"})
    store.add(draw_scenes(10), [IndexProgress("new.mp4", "1", 4)])
    before = store.sources(), store.count(), store.search_ids(ROWS, 5).ids.tolist()
    lite.server_manager_instance.release_server("folder/trial.db")
    for work in (store.count, lambda: store.add([make_scene(ROWS)]), store.sources):
        with pytest.raises(InputError, match="folder/trial.db: cannot"):
            work()
    with open_store(f"milvus-lite://{tmp_path}/folder/trial.db") as again:
        assert (again.sources(), again.count()) == before[:2]
        assert again.search_ids(ROWS, 5).ids.tolist() == before[2]
        assert (again.weights, again.about) == (WEIGHTS, {"a": "b"})
    lite.server_manager_instance.release_server("folder/trial.db")
