"""Reading of images as they are viewed, upright and with 8 bits per channel, or of their sizes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from os import PathLike

import numpy as np
from PIL import Image

from clsa_search.data.dataset_files import missing_file
from clsa_search.errors import InputError

THREADS = 8
"""Threads that read image headers; they wait for the disk more than for a processor core."""

_ORIENTATION = 0x0112  # EXIF tag: 1 is upright; from 5 on, width and height change places


def read_image(path: str | PathLike, image_format: str = "RGB") -> np.ndarray:
    """Read the (H, W, C) uint8 pixels of an image, turned by its EXIF orientation.

    16-bit grayscale images keep their upper 8 bits, as Pillow does with 16-bit color images;
    transparency is dropped.

    Args:
        path: image file.
        image_format: a mode of Pillow ("RGB", "L") or a format of Detectron2 ("BGR").

    Raises:
        InputError: the image is missing, unreadable, or has neither 8 nor 16 bits.
    """
    from detectron2.data.detection_utils import convert_PIL_to_numpy  # slow to import

    with _open(path) as image:
        image.load()  # first, because it makes Pillow turn a TIFF by itself
        pixels = convert_PIL_to_numpy(_to_8_bits(image), image_format)
        return _turn(pixels, _read_orientation(image))


def read_image_sizes(paths: Sequence[str | PathLike]) -> np.ndarray:
    """Return the (N, 2) int64 width and height of N images (see `read_image_size`).

    Raises:
        InputError: an image is missing or unreadable; the message names the first one.
    """
    Image.init()  # load the list of formats before several threads try to
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = list(pool.map(read_image_size, paths, chunksize=64))
    return np.array(sizes, dtype=np.int64).reshape(-1, 2)


def read_image_size(path: str | PathLike) -> tuple[int, int]:
    """Return width and height of the pixels of `read_image`, from the header if possible.

    Raises:
        InputError: the image is missing or unreadable.
    """
    with _open(path) as image:
        if image.format in ("PNG", "TIFF"):
            image.load()  # a PNG may store its orientation behind the pixels; a TIFF is turned
        width, height = image.size
        return (width, height) if _read_orientation(image) < 5 else (height, width)


@contextmanager
def _open(path: str | PathLike) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except Exception as error:  # Pillow raises errors of many types for broken files
        raise InputError(f"{path}: not readable as an image: {error}") from error


def _read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation from 1 to 8, or 1 if there is none or it is unreadable."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # Pillow raises errors of many types for broken EXIF data
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return (H, W, C) pixels of an EXIF orientation upright."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _to_8_bits(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; expected 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    # modes "I;16..."; a 16-bit PGM, and with older versions of Pillow a PNG, has mode "I"
    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() >= 2**16:
        raise ValueError(f"its pixels reach {pixels.max()}; expected 8 or 16 bits")
    return Image.fromarray((pixels >> 8).astype(np.uint8))
