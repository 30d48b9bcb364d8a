"""Widths and heights of images, read from their headers: the pixels stay where they are."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from clsa_search.data.cache import missing_file
from clsa_search.errors import InputError

THREADS = 8  # they wait for the disk, not for a core


def read_image_sizes(paths: Sequence[Path]) -> np.ndarray:
    """(N, 2) int64, width and height in pixels.

    Raises:
        InputError: names the first image that is missing or unreadable.
    """
    Image.init()  # the list of formats, before threads race for it
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = list(pool.map(read_image_size, paths, chunksize=64))
    return np.array(sizes, dtype=np.int64).reshape(-1, 2)


def read_image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels.

    Raises:
        InputError: the image is missing or unreadable.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except (OSError, SyntaxError, ValueError) as error:
        # Pillow answers a broken file with any of these
        raise InputError(f"{path}: not readable as an image: {error}") from error
