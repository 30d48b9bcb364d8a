"""The gallery, images and written pages that several tests work on."""

import cv2
import numpy as np
import pytest
from PIL import Image

from clsa_search.retrieval.report import write_report
from tests.support.footage import write_image, write_video
from tests.support.result_cases import IMAGE, Page
from tests.support.sighting_cases import DAY, make_gallery, write_footage


@pytest.fixture
def folder(tmp_path):
    return write_footage(tmp_path / "footage")


@pytest.fixture
def store(tmp_path, folder):
    with make_gallery(tmp_path / "gallery.db", folder, start_time=DAY) as store:
        yield store


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(IMAGE).save(path)
    return path


@pytest.fixture
def video(tmp_path):
    """Eight gray frames, each lighter than the one before, four per second."""
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 4, (160, 120))
    for i in range(8):
        writer.write(np.full((120, 160, 3), 20 + 25 * i, np.uint8))
    writer.release()
    return path


@pytest.fixture
def written(tmp_path):
    def write(*given):
        write_report(given, tmp_path / "new" / "report.html", address="gallery.db")
        return Page(tmp_path / "new" / "report.html")

    return write


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "media"
    write_image(folder / "a.png", {0: 10, 2: 50})
    write_image(folder / "b" / "empty.png", {})
    write_image(folder / "b" / "large.png", {1: 30}, size=(120, 90))
    write_video(folder / "door.avi", [{3: x} if x < 40 else {} for x in range(0, 80, 2)])
    (folder / "notes.txt").write_text("not an image")
    return folder
