"""Files are written completely or not at all."""

import os
from pathlib import Path

import pytest

from clsa_search.atomic_io import remove_partial_files, replace_file


def test_a_complete_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "new" / "file"
    with replace_file(path) as file:
        file.write(b"one")
        assert not path.exists()
    with replace_file(path) as file:
        file.write(b"two")
        assert path.read_bytes() == b"one"
    assert path.read_bytes() == b"two"


def test_a_failed_write_changes_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    with pytest.raises(KeyError), replace_file(path) as file:
        file.write(b"half")
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"one"


def test_files_of_dead_processes_can_be_removed(tmp_path):
    for name in (".model.pth.123.partial", "model.pth", ".hidden"):
        (tmp_path / name).touch()
    remove_partial_files(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "model.pth"]


def test_links_stay_and_devices_are_written_to(tmp_path):
    target = tmp_path / "folder" / "target"
    (tmp_path / "link").symlink_to(target)
    with replace_file(tmp_path / "link") as file:
        file.write(b"one")
    assert (tmp_path / "link").is_symlink() and target.read_bytes() == b"one"
    with replace_file(os.devnull) as file:
        file.write(b"one")
    assert Path(os.devnull).is_char_device()
