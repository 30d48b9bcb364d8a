"""Damaged images and videos."""

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from clsa_search.data.image_io import read_image, read_image_size
from clsa_search.desk.pictures import read_upload
from clsa_search.retrieval.frame_reader import read_frame
from clsa_search.retrieval.video import count_samples, locate_frame, sample_video
from tests.fuzz.harness import Trial
from tests.fuzz.mutations import damage
from tests.support.corruption import make_broken_palette_png, mend_png
from tests.support.footage import draw_blocks, write_video

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF", "EPS", "AVIF", "TGA", "ICO")
_MODES = ("RGB", "P", "L", "RGBA", "1", "CMYK")


@contextmanager
def images(folder: Path) -> Iterator[Trial]:
    """Damage an image of any format and mode, with the suffix of another one at times."""
    contents = [make_broken_palette_png(), *_encode_all()]

    def trial(chance: random.Random) -> None:
        content = damage(chance.choice(contents), chance)
        if chance.random() < 0.3:
            content = mend_png(content)
        path = folder / f"damaged{chance.choice(('.jpg', '.png', '.tif', '.bmp', ''))}"
        path.write_bytes(content)
        try:
            height, width = read_image_size(path)
        finally:
            image = read_image(path, chance.choice(("RGB", "BGR")))
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        assert {height, width} == set(image.shape[:2])
        read_upload(content)

    yield trial


def _encode_all() -> Iterator[bytes]:
    image = Image.fromarray(draw_blocks({0: 10, 1: 50}, (64, 48)))
    for mode in _MODES:
        for image_format in _FORMATS:
            content = io.BytesIO()
            try:
                image.convert(mode).save(content, image_format)
            except (OSError, KeyError, ValueError):  # no such mode, or not installed
                continue
            yield content.getvalue()


@contextmanager
def videos(folder: Path) -> Iterator[Trial]:
    """Damage a video."""
    frames = [{0: 2 * i, 1: 80} for i in range(12)]
    contents = {
        name: write_video(folder / name, frames, codec=codec).read_bytes()
        for name, codec in (("a.avi", "MJPG"), ("b.mp4", "mp4v"), ("c.mkv", "mp4v"))
    }

    def trial(chance: random.Random) -> None:
        name = chance.choice(list(contents))
        path = str(folder / f"damaged{name}")
        Path(path).write_bytes(damage(contents[name], chance))
        count_samples(path, 2)
        locate_frame(path, 3)
        numbers = []
        try:
            for frame in sample_video(path, 5):
                assert frame.image.dtype == np.uint8 and frame.image.shape[2] == 3
                numbers.append(frame.number)
        finally:
            assert len(numbers) == len(set(numbers)), "a frame number occurs twice"
        for number in numbers[:2]:
            read_frame(path, number)

    yield trial
