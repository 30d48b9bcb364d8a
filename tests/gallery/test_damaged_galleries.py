"""Galleries with random damage: each answers as before, or names the file in an InputError."""

import random
import sqlite3

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, IndexProgress, open_store
from tests.support.store_cases import make_embeddings, make_images, new_store

DAMAGES = 80
QUERIES = make_embeddings(2, width=64, seed=9)
FILTERS = (
    None,
    Filter(cameras=["door"]),
    Filter(sources=["video_2.mp4", "photo_3.jpg"]),
    Filter(since=5, min_score=0.6),
)


def answer(path):
    """Return the matches of searches, all detections, and the sources."""
    with open_store(path) as store:
        found = [
            (match.similarity, describe(match.detection))
            for where in FILTERS
            for per in ("image", "match")
            for matches in store.search(QUERIES, 20, where, per)
            for match in matches
        ]
        return found, [describe(one) for one in store.scan(limit=10_000)], store.sources()


def describe(detection):
    return vars(detection) | {"embedding": detection.embedding.tobytes()}


def damage(data, rng):
    """Change, overwrite, move or cut bytes."""
    kind = rng.choice(["bytes", "bytes", "block", "zeros", "move", "cut"])
    place = rng.randrange(len(data))
    size = rng.choice([4, 64, 512, 4096])
    if kind == "bytes":
        for _ in range(rng.choice([1, 1, 2, 8])):
            data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
    elif kind == "cut":
        del data[rng.randrange(len(data) // 2, len(data)) :]
    elif kind == "move":
        other = rng.randrange(len(data))
        data[place : place + size] = data[other : other + size].ljust(size, b"\0")
    else:
        data[place : place + size] = bytes(size) if kind == "zeros" else rng.randbytes(size)


def count_answers(folder, damages, seed):
    """Return the numbers of galleries that answer as before, are refused, and answer otherwise."""
    path = folder / "gallery.db"
    images = make_images(200, width=64)
    with new_store(path) as store:
        store.add(images, [IndexProgress(i.source, "1") for i in images if i.frame is None])
    whole, rng = path.read_bytes(), random.Random(seed)
    expected = answer(path)
    counts = {"same": 0, "refused": 0, "other": 0}
    for _ in range(damages):
        data = bytearray(whole)
        damage(data, rng)
        for name in folder.iterdir():
            name.unlink()
        path.write_bytes(data)
        try:
            counts["same" if answer(path) == expected else "other"] += 1
        except InputError as error:
            assert str(error).startswith(f"{path}: ")
            counts["refused"] += 1
    return counts


def test_random_damage_never_changes_matches(tmp_path):
    counts = count_answers(tmp_path, DAMAGES, seed=0)
    assert counts["other"] == 0 and counts["refused"] > DAMAGES / 3


def change(path, *statements):
    """Change a gallery behind its back; close it so that the file holds everything."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM gallery",
        "DELETE FROM detections",
        "DELETE FROM detections WHERE id = 2",
        "DELETE FROM detections WHERE id = (SELECT max(id) FROM detections)",
        "DELETE FROM checksums",
        "DELETE FROM sources",
        "INSERT INTO gallery SELECT * FROM gallery",
        "UPDATE gallery SET width = 'x'",
        "UPDATE gallery SET weights = x'00'",
        "UPDATE detections SET embedding = zeroblob(256) WHERE id = 2",
        "UPDATE detections SET embedding = zeroblob(4) WHERE id = 2",
        "UPDATE detections SET embedding = 'text' WHERE id = 2",
        "UPDATE detections SET embedding = 2.5 WHERE id = 2",
        "UPDATE detections SET score = 'x' WHERE id = 2",
        "UPDATE detections SET score = 9e999 WHERE id = 2",
        "UPDATE detections SET time = x'01' WHERE id = 2",
        "UPDATE detections SET camera = x'ff' WHERE id = 2",
        "UPDATE detections SET camera = 'yard' WHERE id = 1",
        "UPDATE detections SET frame = 1.5 WHERE id = 2",
        "UPDATE detections SET frame = 7 WHERE id = 2",
        "UPDATE detections SET x0 = 7 WHERE id = 2",
        "UPDATE detections SET x0 = 'x' WHERE id = 2",
        "UPDATE detections SET source = 99 WHERE id = 2",
        "UPDATE detections SET source = 2 WHERE id = 1",
        "UPDATE sources SET path = 'other.jpg' WHERE id = 1",
        "UPDATE sources SET next_frame = 1 WHERE id = 1",
        "DROP TABLE checksums",
    ],
)
def test_each_kind_of_wrong_value_is_named(tmp_path, statement):
    path = tmp_path / "gallery.db"
    with new_store(path) as store:
        store.add(make_images(30, width=64))
    change(path, statement)
    for _ in range(2):
        with pytest.raises(InputError, match=r"gallery.db: .*expected a gallery that is whole"):
            answer(path)


def test_a_damaged_file_of_a_gallery_can_be_deleted(tmp_path):
    path = tmp_path / "gallery.db"
    with new_store(path) as store:
        store.add(make_images(30, width=64))
    change(path, "UPDATE detections SET embedding = zeroblob(256) WHERE id = 1")
    with open_store(path) as store:
        with pytest.raises(InputError, match="detection 1 is damaged"):
            store.search_ids(QUERIES, 5)
        store.delete("video_0.mp4")
        assert np.isfinite(store.search_ids(QUERIES, 5).similarities).all()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM checksums WHERE id = 1",
        "UPDATE detections SET score = 'x' WHERE id = 1",
        "UPDATE sources SET fingerprint = 'x' WHERE id = 1",
    ],
)
def test_deleting_the_damaged_file_makes_a_gallery_whole(tmp_path, statement):
    path = tmp_path / "gallery.db"
    with new_store(path) as store:
        store.add(make_images(30, width=64))
        number = store.count(Filter(sources=["video_0.mp4"]))
    change(path, statement)
    with pytest.raises(InputError, match="expected a gallery that is whole"):
        answer(path)
    with open_store(path) as store:
        paths = store.paths()
        assert store.delete("video_0.mp4") == number
        assert store.paths() == [source.path for source in store.sources()] == paths[1:]
    assert answer(path)


def make_version_3(path):
    change(
        path,
        "DROP TABLE checksums",
        "ALTER TABLE sources DROP COLUMN checksum",
        "PRAGMA user_version = 3",
    )


def test_a_gallery_of_version_3_gets_checksums(tmp_path):
    path = tmp_path / "gallery.db"
    with new_store(path) as store:
        store.add(make_images(400, width=64))
    expected = answer(path)
    make_version_3(path)
    assert answer(path) == expected == answer(path)
    make_version_3(path)
    # damage that version 3 did not notice
    change(path, "UPDATE detections SET embedding = zeroblob(256) WHERE id = 700")
    with pytest.raises(InputError, match="detection 700 is damaged or lost"):
        answer(path)
