"""Opening galleries on Milvus: addresses, packages, the token, files of milvus-lite."""

import sys

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import (
    IndexProgress,
    milvus_server,
    milvus_sources,
    milvus_table,
    open_store,
)
from clsa_search.gallery.milvus_table import Table
from tests.support.store_cases import (
    WEIGHTS,
    make_embeddings,
    make_image,
    make_images,
    new_store,
)

ROWS = make_embeddings(7)


@pytest.fixture
def store(milvus_address):
    with new_store(milvus_address) as store:
        yield store


def test_a_half_made_gallery_is_completed(milvus_address, store):
    server, _, name = milvus_address.rpartition("/")
    half = f"{server}/half_{name}"
    client, gallery = milvus_server.connect(half, create=True)
    table = Table(client, half, f"{gallery}_sources")
    table.create(milvus_sources.FIELDS)
    with pytest.raises(InputError, match="is not a gallery"):
        open_store(half)
    with new_store(half) as made:
        assert made.add([make_image(ROWS)]).shape == (7,)


def test_galleries_of_another_version_are_refused(milvus_address, store):
    store._sources.write_about('{"version": 99}')
    with pytest.raises(InputError, match="is a gallery of version 99; expected version 2"):
        open_store(milvus_address)


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
        ("http://localhost:99999/x", {}, "expected http://HOST:PORT/GALLERY"),
        ("http://[::1/x", {}, "expected http://HOST:PORT/GALLERY"),
        ("http://me:secret@host:99999/x", {}, "@host:99999: holds a password; expected.*TOKEN"),
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


def test_opening_does_not_create_a_gallery(milvus_address):
    for options in ({}, {"weights": WEIGHTS}):
        with pytest.raises(InputError, match="there is no gallery"):
            open_store(milvus_address, **options)


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


def test_a_milvus_lite_file_is_reopened(tmp_path, monkeypatch):
    lite = pytest.importorskip("milvus_lite.server_manager", reason="milvus-lite is not installed")
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(milvus_table, "_WAIT_SECONDS", 0.5)
    store = new_store("milvus-lite://folder/trial.db", about={"a": "b"})
    store.add(make_images(10), [IndexProgress("new.mp4", "1", 4)])
    before = store.sources(), store.count(), store.search_ids(ROWS, 5).ids.tolist()
    lite.server_manager_instance.release_server("folder/trial.db")
    for work in (store.count, lambda: store.add([make_image(ROWS)]), store.sources):
        with pytest.raises(InputError, match="folder/trial.db: cannot"):
            work()
    with open_store(f"milvus-lite://{tmp_path}/folder/trial.db") as again:
        assert (again.sources(), again.count()) == before[:2]
        assert again.search_ids(ROWS, 5).ids.tolist() == before[2]
        assert (again.weights, again.about) == (WEIGHTS, {"a": "b"})
    lite.server_manager_instance.release_server("folder/trial.db")
