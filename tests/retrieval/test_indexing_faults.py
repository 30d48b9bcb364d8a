"""Unreadable, damaged and truncated files are named, and the rest is indexed."""

import os

import cv2
import numpy as np
import pytest
from PIL import Image

from clsa_search.data.image_io import IMAGE_FORMATS
from clsa_search.retrieval import Indexer
from tests.support.corruption import corrupt, make_broken_palette_png
from tests.support.footage import BlockPredictor, draw_blocks, write_image
from tests.support.index_cases import index, list_rows, open_gallery


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
