"""Files that are whole or not there."""

import pytest

from clsa_search.atomic_io import remove_partial_files, replace_file


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file"
    with replace_file(path) as file:
        file.write(b"one")
        assert not path.exists()
    with replace_file(path) as file:
        file.write(b"two")
        assert path.read_bytes() == b"one"
    assert path.read_bytes() == b"two"


def test_a_file_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    with pytest.raises(KeyError), replace_file(path) as file:
        file.write(b"half")
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"one"


def test_what_a_dead_process_left_can_be_removed(tmp_path):
    for name in (".model.pth.123.partial", "model.pth", ".hidden"):
        (tmp_path / name).touch()
    remove_partial_files(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "model.pth"]
