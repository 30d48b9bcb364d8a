"""Interrupted runs, several processes, a full disk and a GPU that works ahead."""

import os
import random
import signal
import threading
import time

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import IndexProgress
from clsa_search.retrieval import Indexer, IndexOptions
from tests.support.footage import BlockPredictor, write_image, write_video
from tests.support.index_cases import (
    PROCESSES,
    Mortal,
    index,
    index_slowly,
    list_rows,
    open_gallery,
)
from tests.support.store_cases import limit_disk


@pytest.mark.parametrize("batch_size", [1, 4])
def test_interrupted_runs_continue(media, tmp_path, batch_size):
    options = {"rate": 5, "batch_size": batch_size}
    with open_gallery(tmp_path / "whole") as whole, open_gallery(tmp_path) as store:
        index(whole, media, **options)
        images = 0
        for lifetime in (2, 3, 7, 4, 100):
            predictor = Mortal(lifetime)
            try:
                index(store, media, predictor=predictor, **options)
            except KeyboardInterrupt:
                pass
            images += predictor.num_images
        assert list_rows(store) == list_rows(whole)
        assert [s.is_complete for s in store.sources()] == [True] * 4
        assert images == 23  # each image once


def test_failed_replacements_keep_the_old_detections(media, tmp_path):
    with open_gallery(tmp_path) as store:
        index(store, media)
        rows = list_rows(store)
        limit_disk(store)
        frames = [{p: (20 * p + i) % 80 for p in range(4)} for i in range(300)]
        write_video(media / "door.avi", frames)
        with pytest.raises(InputError, match="disk is full"):
            index(store, media / "door.avi", rate=10, batch_size=300)
        assert list_rows(store) == rows


def test_the_first_of_two_processes_replaces_a_file(media, tmp_path):
    with open_gallery(tmp_path) as store, open_gallery(tmp_path) as other:
        index(store, media)
        write_image(media / "a.png", {1: 70})
        os.utime(media / "a.png", ns=(1, 1))
        first, second = (Indexer(BlockPredictor(), s, IndexOptions()) for s in (store, other))
        first.plan([media])
        second.plan([media])
        first.run()
        rows = list_rows(store)
        second.run()
        assert second.report.conflicts == [str(media / "a.png")]
        assert list_rows(store) == rows


def test_the_first_of_two_processes_indexes_a_file(media, tmp_path):
    with open_gallery(tmp_path) as store, open_gallery(tmp_path) as other:
        first, second = (Indexer(BlockPredictor(), s, IndexOptions()) for s in (store, other))
        first.plan([media])
        second.plan([media])
        first.run()
        rows = list_rows(store)
        second.run()
        assert sorted(second.report.conflicts) == sorted(source.path for source in store.sources())
        assert (second.report.images, second.report.detections) == (0, 0)
        assert list_rows(store) == rows


class AheadPredictor(BlockPredictor):
    """A predictor that passes for one of a GPU: batches are detected while others are stored."""

    device = "cuda:0"


@pytest.mark.parametrize("predictor", [BlockPredictor, AheadPredictor])
def test_videos_of_another_process_are_left_to_it(media, tmp_path, predictor):
    with open_gallery(tmp_path) as store:
        indexer = Indexer(predictor(), store, IndexOptions(batch_size=1))
        indexer.plan([media])
        path = str(media / "door.avi")
        store.add([], [IndexProgress(path, "of another process", next_frame=1)])
        indexer.run()
        assert indexer.report.conflicts == [path]
        assert indexer.report.detections == store.count() == 3


def test_kill_9_at_any_moment_loses_and_duplicates_nothing(media, tmp_path):
    for number in range(40):
        write_image(media / f"many_{number}.png", {number % 4: number})
    chance = random.Random(0)
    known: set = set()
    kills = 0
    for seed in range(8):
        process = PROCESSES.Process(target=index_slowly, args=(tmp_path, media, seed, 0.1))
        process.start()
        time.sleep(chance.uniform(0.2, 0.5))
        process.kill()
        process.join(60)
        kills += process.exitcode == -signal.SIGKILL
        if (tmp_path / "gallery.db").exists():
            with open_gallery(tmp_path) as store:
                rows = list_rows(store)
                assert len(set(rows)) == len(rows)
                assert known <= set(rows)
                known = set(rows)
    assert kills > 3
    with open_gallery(tmp_path / "whole") as whole, open_gallery(tmp_path) as store:
        index(whole, media, rate=10)
        index(store, media, rate=10)
        assert list_rows(store) == list_rows(whole)


def test_two_processes_share_the_work_without_duplicates(media, tmp_path):
    for number in range(30):
        write_image(media / f"many_{number}.png", {number % 4: number})
    processes = [
        PROCESSES.Process(target=index_slowly, args=(tmp_path, media, seed, 0.02))
        for seed in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    with open_gallery(tmp_path / "whole") as whole, open_gallery(tmp_path) as store:
        index(whole, media, rate=10)
        assert list_rows(store) == list_rows(whole)


def test_a_full_disk_loses_nothing(media, tmp_path):
    for number in range(250):
        write_image(media / f"many_{number}.png", {p: 20 * p for p in range(4)})
    with open_gallery(tmp_path / "whole") as whole, open_gallery(tmp_path) as store:
        index(whole, media)
        index(store, media / "a.png")
        limit_disk(store)
        with pytest.raises(InputError, match="disk is full.*stored before is kept"):
            index(store, media)
        rows = list_rows(store)
        assert 2 <= len(rows) < len(list_rows(whole))
        limit_disk(store, 1_000_000)
        index(store, media)
        assert set(rows) <= set(list_rows(store))
        assert list_rows(store) == list_rows(whole)


def test_errors_of_the_model_reach_the_caller(media, tmp_path):
    class Failing(BlockPredictor):
        def detect(self, images):
            raise RuntimeError("out of memory")

    with open_gallery(tmp_path) as store, pytest.raises(RuntimeError, match="out of memory"):
        index(store, media, predictor=Failing())


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_a_gpu_that_works_ahead_stores_the_same(media, tmp_path, batch_size):
    options = {"rate": 5, "batch_size": batch_size}
    with open_gallery(tmp_path / "plain") as plain, open_gallery(tmp_path) as store:
        reports = [
            index(plain, media, **options)[0],
            index(store, media, predictor=AheadPredictor(), **options)[0],
        ]
        assert reports[0] == reports[1] and reports[0].images > 10
        assert list_rows(store) == list_rows(plain)
        assert [s.path for s in store.sources()] == [s.path for s in plain.sources()]


def test_what_a_gpu_found_before_an_error_is_stored(media, tmp_path):
    class Mortal(AheadPredictor):
        def detect(self, images):
            if self.num_images == 4:
                raise InputError("a batch of 2 images: out of memory")
            return super().detect(images)

    with open_gallery(tmp_path) as store:
        with pytest.raises(InputError, match="a batch of 2 images"):
            index(store, media, predictor=Mortal(), rate=5, batch_size=2)
        stored = list_rows(store)
        assert stored
        index(store, media, predictor=AheadPredictor(), rate=5, batch_size=2)
        assert set(stored) <= set(list_rows(store))
        whole = list_rows(store)
    with open_gallery(tmp_path / "whole") as store:
        index(store, media, rate=5)
        assert sorted(list_rows(store)) == sorted(whole)


def test_several_threads_prepare_images_and_frames(media, tmp_path):
    class Paired(BlockPredictor):
        """A predictor that prepares images in pairs only."""

        pair = threading.Barrier(2)

        def prepare(self, image):
            self.pair.wait(10)
            return super().prepare(image)

    write_image(media / "z.png", {2: 5})
    with open_gallery(tmp_path / "alone") as alone, open_gallery(tmp_path) as store:
        index(alone, media, rate=2, threads=1)
        report, _, _ = index(store, media, predictor=Paired(), rate=2, threads=2)
        assert (report.images, report.problems) == (12, [])
        rows, expected = ([(e.source, e.frame, e.box) for e in s.scan()] for s in (store, alone))
        assert rows == expected and len(rows) == 8
