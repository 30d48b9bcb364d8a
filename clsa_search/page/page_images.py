"""What the page shows of scenes: uploads as arrays, tiles, thumbnails, frames with a box."""

import os

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError
from clsa_search.visualize import PersonImage, trim_to_tile
from clsa_search.visualize.boxes import draw_outlined_box

MAX_UPLOAD_BYTES = 20 << 20
MAX_FOLDER_BYTES = 1 << 30  # of what was uploaded and shown lately, all visitors' together
MAX_UPLOAD_PIXELS = 64_000_000
TILE_SIZE = 228, 324  # width and height in pixels; the proportions of a ranking sheet's tiles
THUMBNAIL_SIZE = 240, 180
BOX_COLOR = 217, 72, 15
_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow starts programs for some others
_LARGEST_SIDE = 1600  # of a picture in a browser
_LEAST_WIDTH = 900  # of a frame with a box
_PAPER_COLOR = "#9aa3ad"  # quiet on light and on dark pages


def read_upload(path: str | os.PathLike, name: str) -> np.ndarray:
    """A picture of unknown origin as (H, W, 3) RGB uint8, as `read_image` reads those on disk.

    Args:
        path: where it lies.
        name: what its owner calls it, for errors.

    Raises:
        InputError: it is none, of a format or of a size that is not taken, or damaged.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            pixels = image.width * image.height
    except Image.DecompressionBombError:
        pixels = MAX_UPLOAD_PIXELS + 1
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"{name}: is not readable as an image; expected one of {', '.join(_FORMATS)}"
        ) from error
    if pixels > MAX_UPLOAD_PIXELS:
        limit = f"{MAX_UPLOAD_PIXELS // 1_000_000} million"
        raise InputError(f"{name}: has too many pixels; expected at most {limit}")
    try:
        return read_image(path, "RGB")
    except InputError as error:
        raise InputError(str(error).replace(os.fspath(path), name)) from error


def fit_browser(image: np.ndarray) -> np.ndarray:
    """The image (H, W, 3), or a smaller one where a browser would only shrink it."""
    scale = _LARGEST_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def draw_tile(sighting: PersonImage) -> np.ndarray:
    """A person with some surroundings, in the size of all tiles."""
    crop = Image.fromarray(trim_to_tile(sighting).image)
    return np.asarray(ImageOps.pad(crop, TILE_SIZE, color=_PAPER_COLOR))


def draw_thumbnail(image: np.ndarray) -> np.ndarray:
    """A whole scene, in the size of all thumbnails."""
    picture = Image.fromarray(image)
    picture.thumbnail(THUMBNAIL_SIZE, Image.Resampling.LANCZOS)
    return np.asarray(ImageOps.pad(picture, THUMBNAIL_SIZE, color=_PAPER_COLOR))


def draw_missing(size: tuple[int, int]) -> np.ndarray:
    """In place of a picture that cannot be read any more."""
    picture = Image.new("RGB", size, _PAPER_COLOR)
    draw = ImageDraw.Draw(picture)
    draw.line([0, 0, *size], fill="white", width=2)
    draw.line([0, size[1], size[0], 0], fill="white", width=2)
    return np.asarray(picture)


def draw_frame(sighting: PersonImage) -> np.ndarray:
    """The whole scene, large enough to look at, with the person's box."""
    image = fit_browser(sighting.image)
    scale = image.shape[1] / sighting.image.shape[1]
    enlarged = -(-_LEAST_WIDTH // image.shape[1])
    size = image.shape[1] * enlarged, image.shape[0] * enlarged
    picture = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    box = np.asarray(sighting.box) * scale * enlarged
    draw_outlined_box(ImageDraw.Draw(picture), box, BOX_COLOR, max(3, min(size) // 200))
    return np.asarray(picture)
