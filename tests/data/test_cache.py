"""The cache: equal sources are read once, changed sources and damaged caches again."""

import os
import stat

import numpy as np
import pytest

from clsa_search.data import cache
from clsa_search.data.cache import CACHE_FOLDER, load_cached
from clsa_search.errors import InputError


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A folder with a file and a folder of files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "data"
    (folder / "images" / "deep").mkdir(parents=True)
    (folder / "list.mat").write_text("list")
    (folder / "images" / "deep" / "1.jpg").write_text("picture")
    return folder


class Builder:
    """A builder that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"names": np.array(["a", "bc"]), "sizes": np.arange(4.0).reshape(2, 2)}


def load(folder, build):
    arrays = load_cached(folder, "split", [folder / "list.mat", folder / "images"], build)
    assert arrays["names"].tolist() == ["a", "bc"] and arrays["sizes"][1].tolist() == [2, 3]
    assert arrays.keys() == {"names", "sizes"}


def test_the_second_time_the_cache_is_read(dataset):
    build = Builder()
    load(dataset, build)
    load(dataset, build)
    assert build.calls == 1
    assert [p.name for p in (dataset / CACHE_FOLDER).iterdir()] == ["split.npz"]  # no leftovers


def change_text(folder):
    (folder / "list.mat").write_text("another")


def change_time(folder):
    os.utime(folder / "images" / "deep" / "1.jpg", ns=(1, 1))


def add_file(folder):
    (folder / "images" / "deep" / "2.jpg").write_text("")


def rename_file(folder):
    image = folder / "images" / "deep" / "1.jpg"
    image.rename(image.with_name("3.jpg"))


def remove_file(folder):
    (folder / "images" / "deep" / "1.jpg").unlink()


@pytest.mark.parametrize("change", [change_text, change_time, add_file, rename_file, remove_file])
def test_a_changed_source_is_noticed(dataset, change):
    build = Builder()
    load(dataset, build)
    change(dataset)
    load(dataset, build)
    load(dataset, build)
    assert build.calls == 2


def test_another_version_of_the_format_is_noticed(dataset, monkeypatch):
    build = Builder()
    load(dataset, build)
    monkeypatch.setattr(cache, "FORMAT_VERSION", cache.FORMAT_VERSION + 1)
    load(dataset, build)
    assert build.calls == 2


def test_the_cache_moves_with_its_dataset(dataset):
    build = Builder()
    load(dataset, build)
    load(dataset.rename(dataset.with_name("elsewhere")), build)
    assert build.calls == 1


@pytest.mark.parametrize("damage", [b"", b"no archive", "half", "flipped"])
def test_a_damaged_cache_is_rebuilt(dataset, damage):
    build = Builder()
    load(dataset, build)
    path = dataset / CACHE_FOLDER / "split.npz"
    data = bytearray(path.read_bytes())
    if damage == "half":
        damage = data[: len(data) // 2]
    elif damage == "flipped":
        data[data.index(np.float64(3.0).tobytes()) + 7] ^= 1
        damage = data
    path.write_bytes(damage)
    load(dataset, build)
    load(dataset, build)
    assert build.calls == 2


def test_a_failed_build_leaves_nothing(dataset):
    with pytest.raises(ZeroDivisionError):
        load_cached(dataset, "split", [dataset / "list.mat"], lambda: {"a": 1 / 0})
    assert not (dataset / CACHE_FOLDER).exists()


def test_the_cache_of_a_read_only_dataset_is_in_the_users_folder(dataset, tmp_path):
    (dataset / CACHE_FOLDER).write_text("in the way, like a missing permission")
    build = Builder()
    load(dataset, build)
    load(dataset, build)
    assert build.calls == 1
    (folder,) = (tmp_path / "home" / "clsa_search").iterdir()
    assert folder.name.startswith("data-") and (folder / "split.npz").is_file()


def test_without_a_writable_folder_there_is_no_cache(dataset, tmp_path):
    (dataset / CACHE_FOLDER).write_text("in the way")
    (tmp_path / "home").write_text("in the way")
    build = Builder()
    load(dataset, build)
    load(dataset, build)
    assert build.calls == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_dataset(dataset):
    dataset.chmod(stat.S_IRUSR | stat.S_IXUSR)
    build = Builder()
    load(dataset, build)
    load(dataset, build)
    dataset.chmod(stat.S_IRWXU)
    assert build.calls == 1


def test_a_missing_source_is_named(dataset):
    build = Builder()
    load(dataset, build)
    (dataset / "list.mat").unlink()
    with pytest.raises(InputError, match="list.mat: no such file.*datasets/README.md"):
        load(dataset, build)
    assert build.calls == 1
