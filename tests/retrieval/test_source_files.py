"""Lists of media files: folders, links, unknown files."""

import os
from collections import Counter

import pytest

from clsa_search.errors import InputError
from clsa_search.retrieval.source_files import VIDEO_SUFFIXES, format_suffixes, list_media
from clsa_search.retrieval.video import sample_video
from tests.support.footage import write_image, write_video


def test_folders_are_searched_by_file_names(tmp_path):
    for name in ("b.JPG", "a/c.png", "a/d.mp4", "a/.hidden/e.jpg", ".f.jpg", "notes.txt", "z"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    media = list_media([tmp_path, tmp_path / "b.JPG"])
    assert media.images == [str(tmp_path / name) for name in ("b.JPG", "a/c.png")]
    assert media.videos == [str(tmp_path / "a/d.mp4")]
    assert media.others == {".txt": 1, "": 1}


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
    assert media.images == [str(tmp_path / name) for name in ("near/b.png", "far/a.png")]
    locked = str(tmp_path / "near" / "locked")
    assert media.problems == [(locked, f"{locked}: Permission denied")]


def test_ten_thousand_other_files_are_counted(tmp_path):
    image = write_image(tmp_path / "a.png", {})
    for number in range(10_000):
        (tmp_path / f"{number}.txt").touch()
    assert list_media([tmp_path]) == ([str(image)], [], {".txt": 10_000}, [])


def test_a_folder_without_media_is_named_with_its_kinds_of_files(tmp_path):
    phone, empty, good = (tmp_path / name for name in ("phone", "empty", "good"))
    for path in (phone, empty):
        path.mkdir()
    for name in ("b.HEIC", "c.heic", "d.psd", "README"):
        (phone / name).touch()
    image = write_image(good / "a.png", {})
    kinds = "2 .heic, 1 without suffix, 1 .psd"
    reason = f"{phone}: holds no image and no video, but {kinds}; expected"
    with pytest.raises(InputError, match=reason):
        list_media([phone])
    with pytest.raises(InputError, match=f"{empty}: holds no image and no video; expected"):
        list_media([empty])
    media = list_media([phone, good, empty])  # the rest goes on
    assert media.images == [str(image)]
    assert [path for path, _ in media.problems] == [str(phone), str(empty)]


def test_many_suffixes_are_shortened():
    counts = Counter({f".{number}": 20 - number for number in range(13)})
    text = format_suffixes(counts)
    assert text.startswith("20 .0, 19 .1, ") and text.endswith("11 .9, 3 other suffixes")


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_every_suffix_of_a_video_is_readable(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    for codec in ("mp4v", "mpg2", "WMV2", "FLV1", "VP80"):
        write_video(path, [{0: 10}] * 30, codec=codec)
        if path.is_file() and path.stat().st_size:
            break
    else:
        pytest.skip("OpenCV writes no such file")
    assert list_media([tmp_path]).videos == [str(path)]
    assert 2 <= len(list(sample_video(str(path), rate=1))) <= 3


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


def test_a_link_is_its_file_of_the_kind_of_the_link(tmp_path):
    blob = tmp_path / "store" / "4f5a"
    write_image(tmp_path / "a.png", {}).rename(tmp_path / "a.PNG")
    blob.parent.mkdir()
    blob.touch()
    (tmp_path / "again.png").symlink_to("a.PNG")
    (tmp_path / "door.mp4").symlink_to(blob)
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    media = list_media([tmp_path, tmp_path / "again.png"])
    assert media.images == [str(tmp_path / "a.PNG"), str(tmp_path / "gone.jpg")]
    assert media.videos == [str(blob)]
