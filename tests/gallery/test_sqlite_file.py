"""The file of the embedded engine: other files, damaged files, messages."""

import os
import sqlite3
import time

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import open_store
from clsa_search.gallery.sqlite_connection import reported
from tests.support.store_cases import WEIGHTS, make_embeddings, make_image, new_store


def test_only_galleries_of_this_version_are_opened(tmp_path):
    path = tmp_path / "gallery.db"
    new_store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(InputError, match="gallery.db: is a gallery of version 1; expected vers"):
        open_store(path)
    foreign = tmp_path / "foreign.db"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE gallery (name)")
    connection.close()
    text = tmp_path / "text.db"
    text.write_text("no database at all" * 100)
    for file, words in ((foreign, "is not a gallery"), (text, "file is not a database")):
        for options in ({}, {"weights": WEIGHTS, "create": True}):
            before = file.read_bytes()
            with pytest.raises(InputError, match=words):
                open_store(file, **options)
            assert file.read_bytes() == before


def test_a_damaged_embedding_is_named(tmp_path):
    path = tmp_path / "gallery.db"
    with new_store(path) as store:
        store.add([make_image(make_embeddings(3))])
        connection = sqlite3.connect(path)
        connection.execute("UPDATE detections SET embedding = x'00' WHERE id = 2")
        connection.commit()
        connection.close()
        for _ in range(2):
            words = "cannot read: detection 2 holds 1 bytes of 64; expected a gallery that is"
            with pytest.raises(InputError, match=f"gallery.db: {words}") as error:
                store.search_ids(make_embeddings(1), 3)
            assert "is kept" not in str(error.value)
        with pytest.raises(
            InputError, match="gallery.db: cannot read: detection 2 holds 1 bytes of 64"
        ):
            store.get([2])


def test_messages_distinguish_damage_from_a_full_disk(tmp_path):
    for fault, is_kept in (
        (sqlite3.OperationalError("database or disk is full"), True),
        (sqlite3.OperationalError("database is locked"), True),
        (sqlite3.DatabaseError("database disk image is malformed"), False),
    ):
        with pytest.raises(InputError) as error, reported(tmp_path / "gallery.db", "read"):
            raise fault
        assert ("is kept" in str(error.value)) == is_kept
        assert ("damaged" in str(error.value)) != is_kept


def test_a_file_cannot_be_the_folder_of_a_gallery(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/x.db: cannot be made: .*file: File exists"):
        new_store(tmp_path / "file" / "x.db")
    with pytest.raises(InputError, match="there is no gallery"):
        open_store(tmp_path / "file" / "x.db")


def test_a_locked_gallery_is_named_soon(tmp_path):
    path = tmp_path / "gallery.db"
    with new_store(path) as store:
        store.add([make_image(make_embeddings(3))])
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        assert store.count() == 3  # reading goes on
        start = time.monotonic()
        with pytest.raises(InputError, match="cannot delete: .*locked; another process writes"):
            store.delete("a.jpg")
        assert 4 < time.monotonic() - start < 12
        connection.execute("ROLLBACK")
        connection.close()
        assert store.delete("a.jpg") == 3


def test_a_gallery_on_a_full_disk_is_searched(tmp_path, monkeypatch):
    path = tmp_path / "gallery.db"
    embeddings = make_embeddings(3)
    with new_store(path) as store:
        store.add([make_image(embeddings)])
    free = os.statvfs(tmp_path)
    full = os.statvfs_result((*free[:4], 2, *free[5:]))  # blocks available to a user
    monkeypatch.setattr(os, "statvfs", lambda folder: full)
    with open_store(path) as store:
        assert len(store.search(embeddings[:1], 5)[0]) == 3
        with pytest.raises(InputError, match="disk with free space; data stored before is kept"):
            store.delete(store.paths()[0])
    with pytest.raises(InputError, match="cannot be written; expected .* with free space"):
        open_store(path, weights=WEIGHTS, create=True)
    monkeypatch.undo()
    with open_store(path) as store:
        assert store.delete(store.paths()[0]) == 3


def test_a_gallery_without_permission_to_write_is_searched(tmp_path, monkeypatch):
    """As on a read-only disk, where access() denies writing to root too."""
    path = tmp_path / "gallery.db"
    with new_store(path) as store:
        store.add([make_image(make_embeddings(3))])
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    before = sorted(tmp_path.iterdir())
    with open_store(path) as store:
        assert store.search_ids(make_embeddings(1), 5).ids.shape == (1, 3)
        assert store.count() == 3 and len(store.sources()) == 1
        with pytest.raises(InputError, match="cannot delete: attempt to write a readonly database"):
            store.delete("a.jpg")
        assert sorted(tmp_path.iterdir()) == before
        monkeypatch.undo()
        with new_store(path) as other:
            other.delete("a.jpg")
        with pytest.raises(InputError, match="another process has changed it|damaged"):
            store.count()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(InputError, match="gallery.db: cannot be written; expected"):
        new_store(path)
