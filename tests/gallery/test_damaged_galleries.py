"""Galleries with random damage: each answers as before, or names the file in an InputError."""

import random

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, IndexProgress, Note, open_store
from tests.support.old_galleries import change, make_version_3, make_version_4, make_version_5
from tests.support.store_cases import make_embeddings, make_images, new_store
from tests.support.tracklet_cases import link_by

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
        hits = [
            (ids.tolist(), values.tolist())
            for where in FILTERS
            for ids, values in [store.search_tracklets(QUERIES, 20, where)]
        ]
        tracklets = [describe(one) for one in store.tracklets(embeddings=True)]
        members = [store.tracklet_detections(one["tracklet_id"]) for one in tracklets]
        seen = [[one.detection_id for one in some] for some in members]
        detections = [describe(one) for one in store.scan(limit=10_000)]
        notes = store.notes("person"), store.notes("verdict")
        return found, hits, tracklets, seen, detections, store.sources(), notes


def describe(record):
    return vars(record) | {"embedding": record.embedding.tobytes()}


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
        for number in (1, 2):
            link_by(store, f"video_{number}.mp4", lambda one: one.frame // 20)
        store.write_notes([Note("person", {"name": "Ann"}), Note("verdict", {}, 3, b"data")])
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
        "UPDATE detections SET origin = 'hand' WHERE id = 2",
        "UPDATE detections SET origin = x'00' WHERE id = 2",
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


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM tracklets WHERE id = 1",
        "DELETE FROM tracklets",
        "DELETE FROM members WHERE detection = 1",
        "DELETE FROM tracklet_embeddings WHERE id = 1",
        "UPDATE tracklets SET id = 70000 WHERE id = 1",
        "UPDATE tracklets SET source = 2 WHERE id = 1",
        "UPDATE tracklets SET chain = 2 WHERE id = 1",
        "UPDATE tracklets SET camera = 'yard' WHERE id = 1",
        "UPDATE tracklets SET first = 0.25 WHERE id = 1",
        "UPDATE tracklets SET last = 'x' WHERE id = 1",
        "UPDATE tracklets SET last_frame = 1 WHERE id = 1",
        "UPDATE tracklets SET best = x'00' WHERE id = 1",
        "UPDATE tracklets SET purity = 0.25 WHERE id = 1",
        "UPDATE members SET tracklet = 2 WHERE detection = 1",
        "UPDATE tracklet_embeddings SET embedding = zeroblob(256) WHERE id = 1",
        "UPDATE tracklet_embeddings SET embedding = 'text' WHERE id = 1",
    ],
)
def test_damaged_tracklets_are_named_and_computed_again(tmp_path, statement):
    path = tmp_path / "gallery.db"
    with new_store(path) as store:
        store.add(make_images(30, width=64))
        link_by(store, "video_0.mp4", lambda one: one.frame // 12)
    expected = answer(path)
    change(path, statement)
    with pytest.raises(InputError, match="gallery.db: sighting .* expected `clsa-search link --ag"):
        answer(path)
    with open_store(path) as store:
        store.reset_tracklets()
        link_by(store, "video_0.mp4", lambda one: one.frame // 12)
    assert answer(path) == expected


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sources SET camera = 'x' WHERE id = 1",
        "UPDATE sources SET start = 5 WHERE id = 1",
        "UPDATE sources SET linked = 1 - linked WHERE id = 1",
        "UPDATE notes SET value = '{}' WHERE id = 1",
        "UPDATE notes SET kind = 'verdict' WHERE id = 1",
        "UPDATE notes SET data = x'00' WHERE id = 2",
    ],
)
def test_damaged_notes_and_origins_are_named(tmp_path, statement):
    path = tmp_path / "gallery.db"
    with new_store(path) as store:
        store.add(make_images(30, width=64))
        store.write_notes([Note("person", {"name": "Ann"}), Note("verdict", {}, 3, b"data")])
    change(path, statement)
    with pytest.raises(
        InputError, match=r"is damaged; expected (a gallery that is whole|`clsa-search repair )"
    ):
        answer(path)


def test_a_gallery_of_version_5_gets_origins(tmp_path):
    path = tmp_path / "gallery.db"
    with new_store(path) as store:
        images = make_images(60, width=64)
        imported = IndexProgress("photo_3.jpg", "1 bytes, camera ', boxes', boxes 0123456789abcdef")
        store.add(images, [imported, IndexProgress("photo_7.jpg", "1 bytes, camera ', boxes'")])
    make_version_5(path)
    answer(path)
    with open_store(path) as store:
        found = {(one.source, one.origin) for one in store.list()}
    expected = {(one.source, "model") for one in images} - {("photo_3.jpg", "model")}
    assert found == expected | {("photo_3.jpg", "file")}
    # damage that version 5 noticed stays noticed
    make_version_5(path)
    change(path, "UPDATE detections SET x0 = 7 WHERE source = 4")
    with pytest.raises(InputError, match="detection .* is damaged"):
        answer(path)


def test_a_gallery_of_version_4_gets_tracklets(tmp_path):
    path = tmp_path / "gallery.db"
    with new_store(path) as store:
        store.add(make_images(60, width=64))
        unlinked = store.unlinked()
    expected = answer(path)
    make_version_4(path)
    *found, sources, notes = answer(path)
    assert found == list(expected[:-2])
    assert {one.path: one.camera for one in sources if one.path in unlinked} == {
        "video_0.mp4": None,
        "video_1.mp4": "door",
        "video_2.mp4": "yard",
    }
    with open_store(path) as store:
        assert store.unlinked() == unlinked
    # damage that version 4 noticed stays noticed
    make_version_4(path)
    change(path, "UPDATE sources SET next_frame = 1 WHERE id = 1")
    with pytest.raises(InputError, match="source 1 is damaged"):
        answer(path)


def test_a_gallery_of_version_3_gets_checksums(tmp_path):
    path = tmp_path / "gallery.db"
    with new_store(path) as store:
        store.add(make_images(400, width=64))
    expected = answer(path)
    make_version_3(path)
    found = answer(path)
    assert found[:-2] == expected[:-2] and found == answer(path)
    make_version_3(path)
    # damage that version 3 did not notice
    change(path, "UPDATE detections SET embedding = zeroblob(256) WHERE id = 700")
    with pytest.raises(InputError, match="detection 700 is damaged or lost"):
        answer(path)
