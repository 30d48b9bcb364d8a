"""clsa-search index --watch: settled files, segments, failures and signals."""

import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from clsa_search.gallery import open_store
from tests.support.footage import BlockPredictor, write_video
from tests.support.search_command import INDEX


@pytest.fixture
def scans(monkeypatch):
    """Run a function between scans of a watched folder, then end the process by a signal."""
    # a process that a shell started in the background ignores it
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)

    def scans(*steps, end=signal.SIGTERM):
        left = list(steps)

        def sleep(seconds):
            if left:
                left.pop(0)()
            else:
                os.kill(os.getpid(), end)

        monkeypatch.setattr(time, "sleep", sleep)

    yield scans
    signal.signal(signal.SIGINT, previous)


def age(*paths):
    for path in paths:
        os.utime(path, (1000, 1000))


def nothing():
    pass


def test_a_watched_folder_is_indexed_as_files_settle(run, tmp_path, scans):
    folder = tmp_path / "cameras" / "north"
    folder.mkdir(parents=True)
    counts = []

    def count():
        with open_store("street.db") as store:
            counts.append(store.count())

    def record(name):
        age(write_video(folder / name, [{3: i} for i in range(10)]))

    scans(lambda: record("a.avi"), nothing, count, lambda: record("b.avi"), nothing, count)
    printed = run(*INDEX, "--watch", 5, "--camera-from", "folder", "cameras")
    assert counts == [1, 2]
    lines = [line for line in printed.splitlines() if "added" in line]
    assert len(lines) == 2 and "1 detection in 1 image added; 0 files waiting, 0 failed" in lines[0]
    assert printed.splitlines()[-1] == "ended: stored frames are kept, the same command continues"
    with open_store("street.db") as store:
        assert store.cameras() == ["north"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg on PATH")
def test_segments_of_a_recorder_are_indexed(run, tmp_path, scans):
    write_video(tmp_path / "in.avi", [{3: i} for i in range(30)], fps=10)
    folder = tmp_path / "cameras" / "north"
    folder.mkdir(parents=True)
    words = "ffmpeg -nostdin -loglevel error -re -i in.avi -c copy -f segment -segment_time 1"
    words += " -reset_timestamps 1 -strftime 1 cameras/north/%Y%m%dT%H%M%S.avi"
    subprocess.run(words.split(), check=True, env={**os.environ, "TZ": "UTC"})
    age(*folder.iterdir())
    scans(nothing)
    rules = "--camera-from", "folder", "--time-from", "name:%Y%m%dT%H%M%S", "--timezone", "UTC"
    run(*INDEX, "--watch", 1, *rules, "cameras")
    with open_store("street.db") as store:
        sources = store.sources()
        assert len(sources) >= 2
        assert all((one.camera, one.start_from) == ("north", "name") for one in sources)
        assert max(one.start for one in sources) - min(one.start for one in sources) <= 4
        assert store.count() >= 2


def test_failed_files_are_problem_lines_and_the_rest_goes_on(run, tmp_path, scans):
    cut = tmp_path / "footage" / "cut.avi"
    cut.write_bytes(b"RIFF")
    age(cut, *(tmp_path / "footage").rglob("*.*"))
    scans(nothing, nothing, nothing, end=signal.SIGINT)
    printed = run(*INDEX, "--watch", 1, "footage", status=130)
    assert printed.count("problem: ") == 1 and str(cut) in printed
    assert "17 detections in 9 images added; 1 file waiting, 1 failed" in printed


def test_a_signal_within_a_video_loses_nothing(run, tmp_path, scans, monkeypatch):
    age(*(tmp_path / "footage").rglob("*.*"))
    detect = BlockPredictor.detect

    def stop_later(self, images):
        if self.num_images >= 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return detect(self, images)

    scans(nothing)
    with monkeypatch.context() as patch:
        patch.setattr(BlockPredictor, "detect", stop_later)
        run(*INDEX, "--watch", 1, "--batch-size", 2, "footage")
    with open_store("street.db") as store:
        stored = store.count()
        assert 0 < stored < 17
    run(*INDEX, "footage")
    with open_store("street.db") as store:
        assert store.count() == 17
        embeddings = np.array([one.embedding for one in store.list()])
        assert len(embeddings) == 17
