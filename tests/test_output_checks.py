"""Output that cannot be written is found before the work."""

import os
import subprocess

import pytest

from clsa_search.atomic_io import replace_file
from clsa_search.errors import InputError
from clsa_search.gallery import open_store
from clsa_search.output_checks import check_output_file, check_output_folder, reported_writes

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
CHECKS = check_output_file, check_output_folder


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", ["new", "new/below/it", "link/new", "n" * 200])
def test_a_writable_place_passes_and_nothing_is_created(tmp_path, check, name):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    before = sorted(tmp_path.rglob("*"))
    check(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_existing_file_and_an_existing_folder_pass(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("kept")
    check_output_file(tmp_path / "file")
    check_output_folder(tmp_path)
    assert (tmp_path / "file").read_text() == "kept"
    monkeypatch.chdir(tmp_path)
    check_output_file("relative.json")
    check_output_folder("relative")
    check_output_file(os.devnull)
    (tmp_path / "link").symlink_to("gone/target")
    check_output_file("link")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file/x", "Not a directory"),
        ("file/below/x", "Not a directory"),
        ("n" * 300, "File name too long"),
        ("new/" + "n" * 300 + "/x", "File name too long"),
        ("a\0b", "null character"),
        ("loop/x", "Too many levels of symbolic links"),
    ],
)
def test_a_place_that_cannot_exist_is_named(tmp_path, check, name, reason):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError) as caught:
        check(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: cannot be written: ")
    assert reason in str(caught.value)


def test_no_output_replaces_a_gallery(tmp_path):
    path = tmp_path / "gallery"
    open_store(path, weights="b" * 64, create=True).close()
    with pytest.raises(InputError, match="gallery: is a gallery; expected another file to write"):
        check_output_file(path)
    (tmp_path / "link.csv").symlink_to(path)
    with pytest.raises(InputError, match="is a gallery"):
        check_output_file(tmp_path / "link.csv")
    check_output_file(path, is_gallery=True)


def test_files_and_folders_are_not_confused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a folder; expected the path of a file"):
        check_output_file(tmp_path)
    with pytest.raises(InputError, match="file: is not a folder; expected a folder"):
        check_output_folder(tmp_path / "file")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.skipif(IS_ROOT, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path, check):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written: Permission denied"):
        check(tmp_path / "new" / "x")
    tmp_path.chmod(0o700)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB; only root can make one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this process may not mount a disk")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.mark.parametrize("check", CHECKS)
def test_a_full_or_read_only_disk_is_named(small_disk, check):
    check(small_disk / "new")
    with pytest.raises(OSError, match="No space"), (small_disk / "filler").open("wb") as file:
        file.write(bytes(1 << 20))
    with pytest.raises(InputError, match="new: cannot be written: No space left on device"):
        check(small_disk / "new")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(InputError, match="new: cannot be written: Read-only file system"):
        check(small_disk / "new")


def test_a_disk_that_is_full_in_the_middle_keeps_the_old_file(small_disk):
    path = small_disk / "results.json"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="results.json: cannot be written: No space left"):
        with reported_writes(path), replace_file(path) as file:
            file.write(bytes(1 << 20))
    assert path.read_bytes() == b"old" and os.listdir(small_disk) == ["results.json"]
