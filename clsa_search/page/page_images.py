"""Images of the page: uploads as arrays, tiles, thumbnails, frames with a box."""

import os

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError
from clsa_search.structures import PersonImage
from clsa_search.visualize import trim_to_tile
from clsa_search.visualize.boxes import draw_outlined_box
from clsa_search.visualize.resizing import shrink

MAX_UPLOAD_BYTES = 20 << 20
MAX_FOLDER_BYTES = 1 << 30  # recent uploads and shown images of all sessions
MAX_UPLOAD_PIXELS = 64_000_000
TILE_SIZE = 228, 324  # width and height in pixels; the aspect ratio of tiles on ranking sheets
THUMBNAIL_SIZE = 240, 180
BOX_COLOR = 217, 72, 15
_MAX_SIDE = 1600  # pixels of an image in a browser
_MIN_FRAME_WIDTH = 900  # pixels of a frame with a box
_PAPER_COLOR = "#9aa3ad"  # readable on light and on dark pages


def read_upload(path: str | os.PathLike, name: str) -> np.ndarray:
    """Read an image of unknown origin as (H, W, 3) RGB uint8, as `read_image` reads files.

    Args:
        path: path of the file.
        name: name of the file for messages.

    Raises:
        InputError: the format or the size is not accepted, or the file is damaged.
    """
    try:
        return read_image(path, "RGB", max_pixels=MAX_UPLOAD_PIXELS)
    except InputError as error:
        raise InputError(str(error).replace(os.fspath(path), name)) from error


def fit_browser(image: np.ndarray) -> np.ndarray:
    """Return the image (H, W, 3), shrunk if it is larger than a browser needs."""
    return shrink(image, np.zeros(4), (_MAX_SIDE, _MAX_SIDE))[0]


def draw_tile(person: PersonImage) -> np.ndarray:
    """Return a person and some surroundings in the size of all tiles."""
    crop = Image.fromarray(trim_to_tile(person).image)
    return np.asarray(ImageOps.pad(crop, TILE_SIZE, color=_PAPER_COLOR))


def draw_thumbnail(image: np.ndarray) -> np.ndarray:
    """Return a whole image in the size of all thumbnails."""
    canvas = Image.fromarray(shrink(image, np.zeros(4), THUMBNAIL_SIZE)[0])
    return np.asarray(ImageOps.pad(canvas, THUMBNAIL_SIZE, color=_PAPER_COLOR))


def draw_missing(size: tuple[int, int]) -> np.ndarray:
    """Return a crossed-out placeholder for an unreadable image.

    Args:
        size: width and height in pixels.
    """
    canvas = Image.new("RGB", size, _PAPER_COLOR)
    draw = ImageDraw.Draw(canvas)
    draw.line([0, 0, *size], fill="white", width=2)
    draw.line([0, size[1], size[0], 0], fill="white", width=2)
    return np.asarray(canvas)


def draw_frame(person: PersonImage) -> np.ndarray:
    """Return the whole image with the box, in a size for a screen."""
    image, box = shrink(person.image, person.box, (_MAX_SIDE, _MAX_SIDE))
    enlargement = max(1, min(-(-_MIN_FRAME_WIDTH // image.shape[1]), _MAX_SIDE // max(image.shape)))
    size = image.shape[1] * enlargement, image.shape[0] * enlargement
    canvas = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    line = max(3, min(size) // 200)
    draw_outlined_box(ImageDraw.Draw(canvas), box * enlargement, BOX_COLOR, line)
    return np.asarray(canvas)
