"""Lists of media files: folders, links, unknown files."""

import os

import pytest

from clsa_search.errors import InputError
from clsa_search.retrieval.source_files import list_media
from tests.support.footage import write_image


def test_folders_are_searched_by_file_names(tmp_path):
    for name in ("b.JPG", "a/c.png", "a/d.mp4", "a/.hidden/e.jpg", ".f.jpg", "notes.txt", "z"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    media = list_media([tmp_path, tmp_path / "b.JPG"])
    assert media.images == [str(tmp_path / name) for name in ("b.JPG", "a/c.png")]
    assert media.videos == [str(tmp_path / "a/d.mp4")]
    assert media.num_others == 2


def test_linked_folders_are_searched_once_and_unreadable_ones_reported(tmp_path, monkeypatch):
    write_image(tmp_path / "far" / "a.png", {})
    write_image(tmp_path / "near" / "b.png", {})
    (tmp_path / "near" / "locked").mkdir()
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "near")
    scandir = os.scandir

    def deny(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    media = list_media([tmp_path / "near"])
    assert media.images == [str(tmp_path / "near" / name) for name in ("b.png", "link/a.png")]
    locked = str(tmp_path / "near" / "locked")
    assert media.problems == [(locked, f"{locked}: Permission denied")]


def test_ten_thousand_other_files_are_counted(tmp_path):
    for number in range(10_000):
        (tmp_path / f"{number}.txt").touch()
    assert list_media([tmp_path]) == ([], [], 10_000, [])


def test_paths_become_absolute(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", {})
    monkeypatch.chdir(tmp_path)
    assert list_media(["a.png", "./a.png"]).images == [str(tmp_path / "a.png")]


@pytest.mark.parametrize(("name", "words"), [("gone", "No such file"), ("a.txt", "suffix '.txt'")])
def test_given_paths_must_be_media(tmp_path, name, words):
    (tmp_path / "a.txt").touch()
    with pytest.raises(InputError, match=words) as error:
        list_media([tmp_path / name])
    assert str(tmp_path / name) in str(error.value)
