"""Images of the desk: uploads as arrays, JPEGs for a browser."""

import io

import numpy as np
from PIL import Image

from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError
from clsa_search.structures import PersonImage
from clsa_search.visualize import trim_to_tile
from clsa_search.visualize.resizing import shrink

MAX_UPLOAD_PIXELS = 64_000_000
MAX_SIDE = 1600  # pixels of an image in a browser
THUMBNAIL_SIZE = 320, 240


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
