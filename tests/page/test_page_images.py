"""Uploads of unknown origin, and the images that the page draws."""

import io

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page is built with Gradio, which is not installed")

from PIL import Image

from clsa_search.data.image_io import IMAGE_FORMATS
from clsa_search.errors import InputError
from clsa_search.page.page_images import (
    BOX_COLOR,
    TILE_SIZE,
    draw_frame,
    draw_missing,
    draw_tile,
    fit_browser,
    read_upload,
)
from clsa_search.structures import PersonImage
from tests.support.corruption import make_broken_palette_png
from tests.support.footage import draw_blocks
from tests.support.page_cases import BLUE, RED, encode

IMAGE = draw_blocks({RED: 10, BLUE: 60})
UNREADABLE = f"not readable as an image; expected one of {', '.join(IMAGE_FORMATS)}"


def encode_turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # taken upright with a camera on its side
    return encode(np.rot90(IMAGE), exif=exif)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encode(IMAGE), IMAGE),
        (encode_turned(), IMAGE),
        (encode(IMAGE, "GIF"), IMAGE),
        (encode(np.dstack([IMAGE, np.full((72, 96), 9, np.uint8)])), IMAGE),
        (encode(IMAGE[..., 0]), np.repeat(IMAGE[..., :1], 3, axis=2)),
        (encode(IMAGE[..., 0].astype(np.uint16) * 257), np.repeat(IMAGE[..., :1], 3, axis=2)),
    ],
    ids=["plain", "turned", "gif", "transparent", "gray", "16 bits"],
)
def test_uploads_are_read_like_files_on_disk(tmp_path, content, expected):
    path = tmp_path / "upload"
    path.write_bytes(content)
    assert np.array_equal(read_upload(path, "mine"), expected)


def make_bomb(width, height):
    content = io.BytesIO()
    Image.new("1", (width, height)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"mine: {UNREADABLE}"),
        (b"no image", f"mine: {UNREADABLE}"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", f"mine: {UNREADABLE}"),
        (encode(IMAGE, "TGA"), f"mine: {UNREADABLE}"),
        (encode(IMAGE)[:150], "mine: not readable as an image: "),
        (make_broken_palette_png(), "mine: not readable as an image: AssertionError"),
        (make_bomb(9000, 8000), "mine: has too many pixels; expected at most 64 million"),
        (make_bomb(20000, 10000), "mine: has too many pixels"),
    ],
    ids=["empty", "text", "program", "tga", "cut", "palette", "large", "bomb"],
)
def test_messages_about_bad_uploads_name_the_file_but_not_its_path(tmp_path, content, message):
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_upload(path, "mine")
    assert str(tmp_path) not in str(caught.value)


def test_tiles_have_one_size_and_frames_a_box():
    for box in ([10, 20, 24, 60], [0, 0, 96, 72], [94, 70, 96, 72]):
        tile = draw_tile(PersonImage(IMAGE, np.array(box)))
        assert tile.shape == (TILE_SIZE[1], TILE_SIZE[0], 3)
    assert draw_missing(TILE_SIZE).shape == tile.shape
    assert fit_browser(IMAGE) is IMAGE
    frame = draw_frame(PersonImage(IMAGE, np.array([10, 20, 24, 60])))
    scale = frame.shape[1] // 96
    assert scale == 10 and tuple(frame[40 * scale, 10 * scale]) == BOX_COLOR
    assert tuple(frame[5 * scale, 5 * scale]) != BOX_COLOR
