"""Images of the desk: uploads as arrays, JPEGs for a browser, animated clips."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError
from clsa_search.structures import PersonImage
from clsa_search.visualize import trim_to_tile
from clsa_search.visualize.boxes import draw_outlined_box
from clsa_search.visualize.resizing import shrink

MAX_UPLOAD_PIXELS = 64_000_000
MAX_SIDE = 1600  # pixels of an image in a browser
THUMBNAIL_SIZE = 320, 240
CLIP_SIZE = 640, 480  # largest frame of an animated clip
BOX_COLOR = 217, 72, 15


def read_upload(content: bytes, name: str = "image") -> np.ndarray:
    """Read an image of unknown origin as (H, W, 3) RGB uint8, as `read_image` reads files.

    Args:
        content: bytes of the file.
        name: name of the image for messages.

    Raises:
        InputError: the format or the size is not accepted, or the file is damaged.
    """
    file = io.BytesIO(content)
    try:
        return read_image(file, "RGB", max_pixels=MAX_UPLOAD_PIXELS)
    except InputError as error:
        raise InputError(str(error).replace(str(file), name)) from error


def encode_jpeg(image: np.ndarray, quality: int = 88) -> bytes:
    """Return an image (H, W, 3) RGB uint8 as a JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return file.getvalue()


def encode_for_browser(image: np.ndarray) -> bytes:
    """Return an image as a JPEG, shrunk if it is larger than a browser needs."""
    return encode_jpeg(shrink(image, np.zeros(4), (MAX_SIDE, MAX_SIDE))[0])


def encode_thumbnail(image: np.ndarray) -> bytes:
    """Return an image as a small JPEG."""
    return encode_jpeg(shrink(image, np.zeros(4), THUMBNAIL_SIZE)[0])


def encode_crop(person: PersonImage) -> bytes:
    """Return a person and some surroundings as a JPEG."""
    return encode_jpeg(trim_to_tile(person).image)


def encode_clip(
    frames: Sequence[tuple[np.ndarray, np.ndarray | None]], frame_seconds: float
) -> bytes:
    """Return frames with their boxes as an animated WebP, which every browser plays.

    Args:
        frames: images (H, W, 3) of one size, each with the box (4,) in its pixels, or None.
        frame_seconds: seconds that each frame is shown.
    """
    drawn = [_draw(image, box) for image, box in frames]
    file = io.BytesIO()
    drawn[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=drawn[1:],
        duration=round(1000 * frame_seconds),
        loop=0,
        quality=70,
        method=0,
    )
    return file.getvalue()


def shrink_for_clip(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame and a box (4,) of it in the size of a clip."""
    return shrink(image, box, CLIP_SIZE)


def _draw(image: np.ndarray, box: np.ndarray | None) -> Image.Image:
    canvas = Image.fromarray(image)
    if box is not None:
        draw_outlined_box(ImageDraw.Draw(canvas), box, BOX_COLOR, line=2)
    return canvas
