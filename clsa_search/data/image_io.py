"""Reading of images as they are viewed, upright and with 8 bits per channel, or of their sizes."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from clsa_search.data.dataset_files import missing_file
from clsa_search.errors import InputError

THREADS = 8
"""Threads that read images; Pillow decodes several at a time."""

MAX_PIXELS = 178_956_970
"""Most pixels of an image: the limit of Pillow."""

Image.init()  # load the list of formats here, before several threads try to
# formats decoded in this process; for others Pillow starts programs (Ghostscript for EPS)
_SUFFIXES = {
    "AVIF": (".avif",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"),
    "JPEG2000": (".j2k", ".jp2"),
    "PNG": (".png",),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
IMAGE_FORMATS = tuple(name for name in _SUFFIXES if name in Image.OPEN)
"""Formats of images, in Pillow's names; no other file is decoded. AVIF needs Pillow 11.3."""

IMAGE_SUFFIXES = frozenset(suffix for name in IMAGE_FORMATS for suffix in _SUFFIXES[name])
"""Suffixes of file names of these formats, in lower case."""

_ORIENTATION = 0x0112  # EXIF tag: 1 is upright; from 5 on, width and height change places


def read_image(
    path: str | PathLike | IO[bytes], image_format: str = "RGB", *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Read the (H, W, C) uint8 pixels of an image, turned by its EXIF orientation.

    16-bit grayscale images keep their upper 8 bits, as Pillow does with 16-bit color images;
    transparency is dropped.

    Args:
        path: image file, or one in memory.
        image_format: a mode of Pillow ("RGB", "L") or a format of Detectron2 ("BGR").
        max_pixels: larger images are refused before they are decoded.

    Raises:
        InputError: the image is missing, unreadable, too large, or has neither 8 nor 16 bits.
    """
    from detectron2.data.detection_utils import convert_PIL_to_numpy  # slow to import

    with _open(path, max_pixels) as image:
        image.load()  # first, because it makes Pillow turn a TIFF by itself
        pixels = convert_PIL_to_numpy(_to_8_bits(image), image_format)
        return _turn(pixels, _read_orientation(image))


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
def _open(path: str | PathLike | IO[bytes], max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image; every fault of a decoder, in the block too, becomes an InputError."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise Image.DecompressionBombError
            if not image.width * image.height:
                raise ValueError("it has no pixels")
            yield image
    except FileNotFoundError as error:
        raise missing_file(str(path)) from error
    except Image.DecompressionBombError as error:
        expected = f"at most {max_pixels // 1_000_000} million"
        raise InputError(f"{path}: has too many pixels; expected {expected}") from error
    except UnidentifiedImageError as error:
        expected = f"one of {', '.join(IMAGE_FORMATS)}"
        raise InputError(f"{path}: not readable as an image; expected {expected}") from error
    except Exception as error:  # Pillow raises errors of many types for broken files
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"{path}: not readable as an image: {reason}") from error


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
