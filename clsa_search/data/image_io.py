"""Images as they are viewed: upright, in 8 bits; or only their sizes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from os import PathLike

import numpy as np
from detectron2.data.detection_utils import convert_PIL_to_numpy
from PIL import Image

from clsa_search.data.cache import missing_file
from clsa_search.errors import InputError

THREADS = 8  # they wait for the disk, not for a core
_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright, from 5 on width and height change places


def read_image(path: str | PathLike, image_format: str = "RGB") -> np.ndarray:
    """The pixels (H, W, C) uint8, turned as the image's EXIF orientation says.

    Gray of 16 bits keeps its upper 8, as Pillow does with 16-bit color; transparency is dropped.

    Args:
        path: of the file.
        image_format: a mode of Pillow ("RGB", "L"), or one of Detectron2's ("BGR").

    Raises:
        InputError: the image is missing, unreadable, or neither of 8 nor of 16 bits.
    """
    with _open(path) as image:
        image.load()  # first, because Pillow turns a TIFF by itself then
        pixels = convert_PIL_to_numpy(_to_8_bits(image), image_format)
        return _turn(pixels, _read_orientation(image))


def read_image_sizes(paths: Sequence[str | PathLike]) -> np.ndarray:
    """(N, 2) int64, as `read_image_size`.

    Raises:
        InputError: names the first image that is missing or unreadable.
    """
    Image.init()  # the list of formats, before threads race for it
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = list(pool.map(read_image_size, paths, chunksize=64))
    return np.array(sizes, dtype=np.int64).reshape(-1, 2)


def read_image_size(path: str | PathLike) -> tuple[int, int]:
    """Width and height in pixels of what `read_image` returns, from the header where it says them.

    Raises:
        InputError: the image is missing or unreadable.
    """
    with _open(path) as image:
        if image.format in ("PNG", "TIFF"):
            image.load()  # orientation may stand behind a PNG's pixels, and goes with a TIFF's
        return image.size if _read_orientation(image) < 5 else image.size[::-1]


@contextmanager
def _open(path: str | PathLike) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow answers a broken file with any of these
        raise InputError(f"{path}: not readable as an image: {error}") from error


def _read_orientation(image: Image.Image) -> int:
    """From 1 to 8; 1 where there is none, or none that can be read."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except (OSError, SyntaxError, ValueError):
        return 1
    return orientation if orientation in range(1, 9) else 1


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W, C) of an orientation made upright."""
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
    # "I;16" and its like; but 16-bit PGM, and with older Pillow PNG, come in 32 bits ("I")
    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() >= 2**16:
        raise ValueError(f"its pixels reach {pixels.max()}; expected 8 or 16 bits")
    return Image.fromarray((pixels >> 8).astype(np.uint8))
