"""Indexing files: stored, skipped and replaced detections, interruptions, several processes."""

import os

import pytest

from clsa_search.errors import InputError
from clsa_search.retrieval import IndexOptions
from tests.support.footage import BlockPredictor, draw_blocks, write_image
from tests.support.index_cases import PROCESSES, index, list_rows, open_gallery

PROCESSES.set_forkserver_preload(["clsa_search.retrieval.indexer", "tests.support.footage"])


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
