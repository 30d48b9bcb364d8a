"""Sources that are gone, moved, or known by another path."""

import os
import shutil

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Source
from clsa_search.retrieval.source_files import describe_file
from clsa_search.retrieval.source_moves import (
    find_gone,
    find_renamed,
    find_source,
    plan_moves,
    resolve_links,
)


def make_source(path, content="abc", fingerprint=None):
    """Write a file and return its source."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    state = f"{describe_file(str(path))}, score 0.5" if fingerprint is None else fingerprint
    return Source(str(path), state, None, 3)


def test_a_file_is_found_by_every_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "cam" / "a.mp4"
    make_source(file)
    (tmp_path / "link").symlink_to("cam")
    assert find_source("cam/../link/a.mp4", {str(file)}) == str(file)
    assert find_source("cam/a.mp4", {str(tmp_path / "link" / "a.mp4")}) == str(
        tmp_path / "link" / "a.mp4"
    )
    assert find_source("cam/b.mp4", {str(file)}) == str(tmp_path / "cam" / "b.mp4")
    stored = {str(file), str(tmp_path / "link" / "a.mp4")}  # of an earlier version
    assert resolve_links(stored) == {}


def test_only_missing_files_are_gone(tmp_path, monkeypatch):
    names = "a.png", "b/c.png", "d.png", "e/f.png"
    paths = [make_source(tmp_path / name).path for name in names]
    (tmp_path / "a.png").unlink()
    (tmp_path / "b" / "c.png").unlink()
    (tmp_path / "b").rmdir()
    stat = os.stat

    def deny(path, *args, **options):
        if str(path).endswith("f.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", deny)
    gone, unreachable = find_gone(paths)
    assert gone == paths[:2]
    assert unreachable == [f"{tmp_path}/e/f.png: Permission denied"]


def test_a_moved_folder_is_followed_but_for_missing_and_changed_files(tmp_path):
    names = ("a.png", "sub/b.mp4", "c.png", "d.png")
    sources = [make_source(tmp_path / "old" / name) for name in names]
    sources.append(make_source(tmp_path / "older" / "e.png"))
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new" / "c.png").write_text("longer")
    (tmp_path / "new" / "d.png").unlink()
    os.utime(tmp_path / "new" / "a.png", ns=(5, 5))  # a copy has another time
    moves, problems = plan_moves(sources, tmp_path / "old", tmp_path / "new")
    assert [move.source for move in moves] == sources[:2]
    assert [move.path for move in moves] == [str(tmp_path / "new" / name) for name in names[:2]]
    assert moves[0].fingerprint == "3 bytes of 5, score 0.5"
    assert moves[1].fingerprint == sources[1].fingerprint
    assert problems == [
        f"{tmp_path}/new/c.png: has 6 bytes; expected 3 bytes, as {tmp_path}/old/c.png had",
        f"{tmp_path}/new/d.png: No such file or directory; expected an image or a video",
    ]


def test_a_file_moves_to_a_new_name_or_into_a_folder(tmp_path):
    source = make_source(tmp_path / "a.mp4", fingerprint="unknown state")
    make_source(tmp_path / "new" / "b.mp4")
    make_source(tmp_path / "new" / "a.mp4")
    for new, path in (("new/b.mp4", "new/b.mp4"), ("new", "new/a.mp4")):
        (move,), problems = plan_moves([source], tmp_path / "a.mp4", tmp_path / new)
        assert (move.path, move.fingerprint) == (str(tmp_path / path), "unknown state")
        assert not problems
    assert plan_moves([source], tmp_path, tmp_path) == ([], [])


def test_moves_from_or_to_nowhere_are_refused(tmp_path):
    source = make_source(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="gone: does not exist; expected the moved file"):
        plan_moves([source], tmp_path / "a.mp4", tmp_path / "gone")
    with pytest.raises(InputError, match="a.mp: is not indexed, and no indexed file lies below"):
        plan_moves([source], tmp_path / "a.mp", tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_texts_that_are_no_names_of_files_are_refused(name):
    with pytest.raises(InputError, match="expected the path of a file"):
        find_source(name, ["/a.jpg"])


def test_renamed_files_are_known_by_size_time_and_suffix(tmp_path):
    names = "a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4", "f.mp4"
    sources = [make_source(tmp_path / name, content=name * i) for i, name in enumerate(names, 1)]
    sources.append(make_source(tmp_path / "g.mp4", fingerprint="without a state"))
    for name in ("a.mp4", "b.mp4", "d.mp4", "g.mp4"):
        (tmp_path / name).rename(tmp_path / f"new_{name}")
    (tmp_path / "new_b.mp4").touch()  # changed since
    shutil.copy2(tmp_path / "c.mp4", tmp_path / "new_c.mp4")  # a copy: the file is still there
    (tmp_path / "new_d.mp4").rename(tmp_path / "new_d.png")  # another kind of file
    paths = sorted(map(str, tmp_path.iterdir()))
    assert [(move.source.path, move.path) for move in find_renamed(sources, paths)] == [
        (str(tmp_path / "a.mp4"), str(tmp_path / "new_a.mp4"))
    ]
    shutil.copy2(tmp_path / "new_a.mp4", tmp_path / "twin_a.mp4")  # which of the two?
    assert not find_renamed(sources, [*paths, str(tmp_path / "twin_a.mp4")])
    assert not find_renamed(sources, [str(tmp_path / "none.mp4")])
