"""Indexing files: stored, skipped and replaced detections, interruptions, several processes."""

import multiprocessing
import os
import random
import signal
import threading
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from clsa_search.data.image_io import IMAGE_FORMATS
from clsa_search.errors import InputError
from clsa_search.gallery import IndexProgress, open_store
from clsa_search.retrieval import Indexer, IndexOptions
from tests.support.corruption import corrupt, make_broken_palette_png
from tests.support.footage import BlockPredictor, draw_blocks, write_image, write_video
from tests.support.store_cases import limit_disk

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["clsa_search.retrieval.indexer", "tests.support.footage"])


def open_gallery(folder):
    return open_store(folder / "gallery.db", weights=BlockPredictor.weights_sha256, create=True)


def index(store, *paths, predictor=None, **options):
    """Index; return the report, the estimated number of images and the calls of `on_stored`."""
    indexer = Indexer(predictor or BlockPredictor(), store, IndexOptions(**options))
    calls = []
    expected = indexer.plan(paths)
    indexer.run(lambda images, detections: calls.append((images, detections)))
    return indexer.report, expected, calls


def list_rows(store):
    """Return (source, frame, left edge) of all detections, in the order of files and frames."""
    detections = store.scan(limit=10_000)
    return sorted((e.source, -1 if e.frame is None else e.frame, e.box[0]) for e in detections)


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "media"
    write_image(folder / "a.png", {0: 10, 2: 50})
    write_image(folder / "b" / "empty.png", {})
    write_image(folder / "b" / "large.png", {1: 30}, size=(120, 90))
    write_video(folder / "door.avi", [{3: x} if x < 40 else {} for x in range(0, 80, 2)])
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_detections_are_stored_with_source_frame_time_and_camera(media, tmp_path):
    with open_gallery(tmp_path) as store:
        options = {"rate": 2, "camera": "door", "start_time": 1000, "batch_size": 3}
        report, expected, calls = index(store, media, **options)
        assert (report.images, report.detections, report.skipped) == (11, 7, 0)
        assert report.other_files == {".txt": 1}
        assert not report.problems and not report.conflicts
        assert expected == 11
        assert [sum(column) for column in zip(*calls, strict=True)] == [11, 7]
        assert all(source.is_complete for source in store.sources())
        assert sorted(source.detections for source in store.sources()) == [0, 1, 2, 4]
        query = BlockPredictor().embed(draw_blocks({3: 0}), [(0, 20, 14, 60)])
        (found,) = store.search(query, 4)
        for rank, detection in enumerate(
            sorted((m.detection for m in found), key=lambda e: e.frame)
        ):
            assert (detection.source, detection.camera) == (str(media / "door.avi"), "door")
            assert (detection.frame, detection.time) == (5 * rank, pytest.approx(1000 + rank / 2))
            assert detection.box == pytest.approx((10 * rank, 20, 10 * rank + 14, 60), abs=2)


def test_indexed_files_are_skipped_and_new_files_added(media, tmp_path):
    with open_gallery(tmp_path) as store:
        index(store, media)
        rows = list_rows(store)
        predictor = BlockPredictor()
        report, expected, _ = index(store, media, predictor=predictor)
        assert (report.skipped, report.images, expected, predictor.num_images) == (4, 0, 0, 0)
        write_image(media / "new.png", {0: 5})
        report, expected, _ = index(store, media, predictor=predictor)
        assert (report.skipped, report.images, expected, predictor.num_images) == (4, 1, 1, 1)
        assert list_rows(store) == sorted([*rows, (str(media / "new.png"), -1, 5)])


def test_renamed_files_are_followed_and_get_the_camera_of_their_new_folder(media, tmp_path):
    with open_gallery(tmp_path) as store:
        index(store, media, camera_from="folder")
        before = {one.detection_id: one.box for one in store.scan()}
        (media / "yard").mkdir()
        (media / "door.avi").rename(media / "yard" / "gate.avi")
        (media / "a.png").rename(media / "c.png")
        report, *_ = index(store, media, camera_from="folder")
        assert (report.images, report.renamed, report.moved, report.problems) == (0, 2, 2, [])
        assert {one.detection_id: one.box for one in store.scan()} == before
        cameras = {os.path.basename(one.path): one.camera for one in store.sources()}
        assert cameras["gate.avi"] == "yard" and cameras["c.png"] == "media"
        assert {one.camera for one in store.scan()} == {"yard", "media", "b"}
        assert not store.unlinked()
        assert index(store, media, camera_from="folder")[0].skipped == 4


def test_changed_files_replace_their_detections(media, tmp_path):
    with open_gallery(tmp_path) as store:
        index(store, media)
        write_image(media / "a.png", {1: 70})
        os.utime(media / "a.png", ns=(1, 1))
        report, _, _ = index(store, media)
        assert (report.skipped, report.images) == (3, 1)
        assert [row for row in list_rows(store) if row[0].endswith("a.png")] == [
            (str(media / "a.png"), -1, 70)
        ]


@pytest.mark.parametrize("options", [{"rate": 5}, {"camera": "yard"}, {"start_time": 7}])
def test_other_options_index_again_without_duplicates(media, tmp_path, options):
    with open_gallery(tmp_path) as store:
        index(store, media / "door.avi")
        index(store, media / "door.avi", **options)
        with open_gallery(tmp_path / "fresh") as fresh:
            index(fresh, media / "door.avi", **options)
            assert list_rows(store) == list_rows(fresh)


def test_changed_but_unreadable_files_keep_their_detections(media, tmp_path):
    with open_gallery(tmp_path) as store:
        index(store, media)
        rows = list_rows(store)
        (media / "a.png").write_bytes(b"")
        (media / "door.avi").write_bytes(b"")
        report, _, _ = index(store, media)
        assert [path for path, _ in report.problems] == [
            str(media / n) for n in ("a.png", "door.avi")
        ]
        assert list_rows(store) == rows


def test_unreadable_files_are_reported_and_the_rest_is_indexed(media, tmp_path):
    image = (media / "a.png").read_bytes()
    (media / "c0_empty.jpg").write_bytes(b"")
    (media / "c1_cut.png").write_bytes(image[: len(image) // 2])
    (media / "c2_text.jpg").write_text("hello")
    (media / "c3_gone.jpg").symlink_to(media / "nowhere.jpg")
    Image.new("1", (20000, 20000)).save(media / "c4_giant.png")  # 400 million pixels
    Image.fromarray(np.zeros((72, 96), np.float32)).save(media / "c5_float.tiff")
    (media / "d_empty.avi").write_bytes(b"")
    write_image(media / "z.png", {2: 5})
    with open_gallery(tmp_path) as store:
        report, _, _ = index(store, media)
        assert len(report.problems) == 7
        for path, reason in report.problems:
            assert path in reason
        assert [os.path.basename(p)[:2] for p, _ in sorted(report.problems)] == [
            *("c0", "c1", "c2", "c3", "c4", "c5", "d_"),
        ]
        assert (str(media / "z.png"), -1, 5) in list_rows(store)
        assert not any("/c" in path or "/d_" in path for path, *_ in list_rows(store))
        report, _, _ = index(store, media)  # they are tried again
        assert (len(report.problems), report.skipped) == (7, 5)


@pytest.mark.filterwarnings("ignore")  # of Pillow about damaged files
def test_a_damaged_image_does_not_end_the_others(tmp_path):
    folder = tmp_path / "media"
    for number in range(4):
        write_image(folder / f"b{number}.png", {number: 10})
    (folder / "a_palette.png").write_bytes(make_broken_palette_png())
    Image.fromarray(draw_blocks({0: 10})).save(folder / "a_script.eps")
    (folder / "a_script.eps").rename(folder / "a_script.jpg")
    with open_gallery(tmp_path) as store:
        for _ in range(2):
            report, _, _ = index(store, folder)
            names = [os.path.basename(path) for path, _ in report.problems]
            assert names == ["a_palette.png", "a_script.jpg"]
            assert all(reason.startswith(path) for path, reason in report.problems)
            assert [row[2] for row in list_rows(store)] == [10] * 4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_damaged_copies_of_an_image_are_stored_or_named(image_format, tmp_path):
    folder = tmp_path / "media"
    write_image(folder / "good.png", {3: 10})
    Image.fromarray(draw_blocks({0: 10})).save(tmp_path / "whole", image_format)
    content = (tmp_path / "whole").read_bytes()
    for seed in range(35):
        (folder / f"bad_{seed}.jpg").write_bytes(corrupt(content, seed))
    with open_gallery(tmp_path) as store:
        report, _, _ = index(store, folder)
        named = {path for path, _ in report.problems}
        stored = {source.path for source in store.sources()}
        assert named | stored == {str(path) for path in folder.iterdir()}
        assert not named & stored
        assert str(folder / "good.png") in stored and named


def test_an_image_or_a_frame_without_memory_for_it_does_not_end_the_others(media, tmp_path):
    class Small(BlockPredictor):
        """A predictor without memory for the image "large" and for blocks of the video at 42."""

        def prepare(self, image):
            if len(image) == 90 or image[40, 42, 0] < 75 and image[40, 42, 1] > 150:
                raise MemoryError
            return super().prepare(image)

    with open_gallery(tmp_path) as store:
        for batch_size in (1, 3, 100):
            (media / "door.avi").touch()  # to be indexed again
            options = {"rate": 10, "batch_size": batch_size}
            report, _, _ = index(store, media, predictor=Small(), **options)
            reasons = [reason.removeprefix(f"{media}/") for _, reason in report.problems]
            assert reasons == [
                f"{name}: cannot be read: MemoryError()"
                for name in ("b/large.png", *(f"door.avi: frame {n}" for n in range(15, 20)))
            ]
            frames = [frame for path, frame, _ in list_rows(store) if path.endswith("door.avi")]
            assert frames == list(range(15))
            assert all(source.is_complete for source in store.sources())


def test_any_fault_of_a_decoder_is_reported_with_its_file(media, tmp_path, monkeypatch):
    def fail(path):
        raise cv2.error("out of memory")

    with open_gallery(tmp_path) as store:
        indexer = Indexer(BlockPredictor(), store)
        indexer.plan([media])
        monkeypatch.setattr(cv2, "VideoCapture", fail)
        indexer.run()
        ((path, reason),) = indexer.report.problems
        assert path == str(media / "door.avi")
        assert reason.startswith(f"{path}: cannot be read: ") and "out of memory" in reason
        assert indexer.report.images == 3


def test_images_of_every_kind_are_read_upright_in_8_bits(tmp_path):
    upright = draw_blocks({1: 60})
    folder = tmp_path / "media"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    turned.save(folder / "turned.png", exif=exif)
    Image.fromarray(np.dstack([upright, np.full((72, 96), 9, np.uint8)])).save(folder / "alpha.png")
    cv2.imwrite(str(folder / "deep.png"), (upright[..., ::-1].astype(np.uint16) << 8) + 99)
    with open_gallery(tmp_path) as store:
        report, _, _ = index(store, folder)
        assert not report.problems
        assert [(os.path.basename(p), x) for p, _, x in list_rows(store)] == [
            *(("alpha.png", 60), ("deep.png", 60), ("turned.png", 60)),
        ]
        cv2.imwrite(str(folder / "gray.png"), upright[..., 0])
        cv2.imwrite(str(folder / "gray16.png"), upright[..., 0].astype(np.uint16) << 8)
        report, _, _ = index(store, folder)
        assert (report.images, report.problems) == (2, [])


def test_truncated_videos_keep_their_readable_frames(media, tmp_path):
    content = (media / "door.avi").read_bytes()
    (media / "door.avi").write_bytes(content[: len(content) // 2])
    with open_gallery(tmp_path) as store:
        report, _, _ = index(store, media / "door.avi", rate=10)
        assert report.problems[0][0] == str(media / "door.avi")
        assert "cut short" in report.problems[0][1]
        assert 10 <= report.detections == store.count() < 20
        report, _, _ = index(store, media / "door.avi", rate=10)
        assert (report.skipped, report.problems) == (1, [])


class Mortal(BlockPredictor):
    """A predictor that dies after some images, as if the process did."""

    def __init__(self, lifetime):
        super().__init__()
        self.lifetime = lifetime

    def detect(self, images):
        if self.num_images + len(images) > self.lifetime:
            raise KeyboardInterrupt
        return super().detect(images)


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


def test_unusual_files_are_reported_and_the_rest_is_indexed(media, tmp_path):
    cv2.imwrite(str(media / "c_thin.png"), np.zeros((3, 2000, 3), np.uint8))
    os.mkfifo(media / "c_pipe.jpg")
    for name in (b"caf\xe9.jpg", b"caf\xe9.avi"):
        with open(os.fsencode(media) + b"/" + name, "wb") as file:
            file.write((media / "a.png").read_bytes())
    with open_gallery(tmp_path) as store:
        report, _, _ = index(store, media)
        reasons = sorted(reason.removeprefix(f"{media}/") for _, reason in report.problems)
        assert len(reasons) == 4
        assert "c_pipe.jpg: is not a regular file" in reasons[0]
        assert (
            "c_thin.png: 2000 x 3 pixels; expected a longer side of at most 100 times" in reasons[1]
        )
        for reason, kind in zip(reasons[2:], ("avi", "jpg"), strict=True):
            assert (
                reason == f"caf\udce9.{kind}: has a name that is not UTF-8; expected another name"
            )
        assert report.detections == len(list_rows(store)) == 5


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


def index_slowly(folder, media, seed, delay):
    """Index with a slow predictor, in a process to be killed."""

    class Slow(BlockPredictor):
        def detect(self, images):
            time.sleep(delay)
            return super().detect(images)

    with open_gallery(folder) as store:
        index(store, media, predictor=Slow(), rate=10, batch_size=1 + seed % 3)


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


@pytest.mark.parametrize(
    "options",
    [
        *({"rate": 0}, {"rate": float("nan")}, {"batch_size": 0}, {"threads": 0}),
        {"start_time": 1e13},
    ],
)
def test_wrong_options_are_refused(options):
    (name,) = options
    with pytest.raises(InputError, match=f"{name}: .*; expected"):
        IndexOptions(**options)


def test_links_to_an_indexed_file_are_the_same_source(media, tmp_path):
    (tmp_path / "link").symlink_to(media)
    (media / "again.png").symlink_to("a.png")
    with open_gallery(tmp_path) as store:
        index(store, tmp_path / "link" / "a.png")
        report, _, _ = index(store, media, tmp_path / "link", media / "b" / ".." / "a.png")
        assert (report.images, report.skipped) == (6, 1)  # 4 of the video
        assert sorted(source.path for source in store.sources()) == [
            str(media / name) for name in ("a.png", "b/empty.png", "b/large.png", "door.avi")
        ]


def test_a_source_that_was_stored_with_a_link_keeps_its_path(media, tmp_path):
    (tmp_path / "link").symlink_to(media)
    with open_gallery(tmp_path) as store:
        index(store, media / "a.png")
        (source,) = store.sources()
        store.relink(source.path, str(tmp_path / "link" / "a.png"), source.fingerprint)
        report, _, _ = index(store, media / "a.png")
        assert (report.images, report.skipped) == (0, 1)
        os.utime(media / "a.png", ns=(1, 1))
        index(store, media / "a.png")
        assert [row[0] for row in list_rows(store)] == [str(tmp_path / "link" / "a.png")] * 2
