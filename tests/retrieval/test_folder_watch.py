"""Watched folders: only settled files, and failed ones again with growing delays."""

import os

import pytest

from clsa_search.retrieval.folder_watch import FolderWatch


@pytest.fixture
def touch(tmp_path):
    """Write a file of a size and a time of change; return its path."""

    def touch(name, size, changed):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        os.utime(path, (changed, changed))
        return str(path)

    return touch


def test_a_file_is_taken_once_it_stays_the_same(touch):
    watch = FolderWatch()
    old, growing = touch("a.mp4", 5, 1000), touch("b.mp4", 5, 1500)
    newest = touch("c.mp4", 5, 1990)
    paths = [old, growing, newest]
    assert watch.choose(paths, now=2000) == []  # seen for the first time
    touch("b.mp4", 9, 2005)
    assert watch.choose(paths, now=2010) == [old, newest]  # b is the newest of its folder now
    assert watch.note([old, newest], {}, now=2010) == []
    assert watch.choose(paths, now=2064) == []
    assert watch.choose(paths, now=2066) == [growing]
    watch.note([growing], {})
    assert watch.choose(paths, now=9999) == [] and watch.num_waiting == 0
    touch("a.mp4", 6, 9000)
    assert watch.choose(paths, now=10000) == []
    assert watch.choose(paths, now=10010) == [old]


def test_the_newest_of_each_folder_waits(touch):
    watch = FolderWatch()
    paths = [touch(name, 1, 1000 + i) for i, name in enumerate(("a/1", "a/2", "b/1", "b/2"))]
    watch.choose(paths, now=1010)
    assert watch.choose(paths, now=1020) == [paths[0], paths[2]]
    assert watch.choose(paths, now=1100) == paths


def test_failed_files_are_tried_again_later_and_later(touch):
    watch = FolderWatch()
    path = touch("a.mp4", 5, 0)
    watch.choose([path], now=1000)
    tries, now = [], 1000.0
    while now < 16000:
        now += 10
        if watch.choose([path], now):
            tries.append(now)
            watch.note([path], {path: "a.mp4: is cut short"}, now)
    delays = [b - a for a, b in zip(tries, tries[1:], strict=False)]
    assert delays == [60, 120, 240, 480, 960, 1920, *[3600] * 3]
    assert (watch.num_failed, watch.num_waiting) == (1, 1)


def test_a_reason_is_reported_once_and_a_changed_file_tried_at_once(touch):
    watch = FolderWatch()
    path = touch("a.mp4", 5, 0)
    watch.choose([path], now=1000)
    watch.choose([path], now=1010)
    assert watch.note([path], {path: "cut"}, now=1010) == ["cut"]
    assert watch.note([path], {path: "cut"}, now=1070) == []
    assert watch.note([path], {path: "gone"}, now=1190) == ["gone"]
    touch("a.mp4", 6, 1)
    assert watch.choose([path], now=1200) == []
    assert watch.choose([path], now=1210) == [path]
    assert watch.note([path], {}, now=1210) == []
    assert (watch.num_failed, watch.num_waiting) == (0, 0)


def test_faults_of_folders_are_reported_once(tmp_path):
    watch = FolderWatch()
    assert watch.note_faults(["a: no permission"]) == ["a: no permission"]
    assert watch.note_faults(["a: no permission", "b: empty"]) == ["b: empty"]
    assert watch.note_faults([]) == []
    assert watch.note_faults(["a: no permission"]) == ["a: no permission"]


def test_files_that_are_gone_are_forgotten(touch, tmp_path):
    watch = FolderWatch()
    path = touch("a.mp4", 5, 0)
    watch.choose([path], now=1000)
    assert watch.choose([str(tmp_path / "none"), path], now=1010) == [path]
    watch.note([path], {path: "cut"}, now=1010)
    assert watch.choose([], now=1020) == [] and watch.num_failed == 0
