"""Records of a ranking to draw, and the part of an image to show in a tile."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

from clsa_search.structures import PersonImage
from clsa_search.visualize.resizing import clip_boxes, shrink

TILE_WIDTH, TILE_HEIGHT = 1.14, 1.62  # inches on a sheet; the aspect ratio holds everywhere
CONTEXT = 0.22  # margin on every side of a box, relative to its height and width
MAX_TILE_SIZE = 456, 648  # pixels, twice those of a printed tile; the aspect ratio is the same
_MIN_HEIGHT = 2.0  # smallest height of a window, pixels of the image

PersonImageT = TypeVar("PersonImageT", bound=PersonImage)


@dataclass(frozen=True)
class MatchImage(PersonImage):
    """A match with its image.

    Args:
        similarity: cosine similarity to the query.
        correct: whether the match shows the person of the query; None if not known.
    """

    similarity: float = 0.0
    correct: bool | None = None


@dataclass(frozen=True)
class Ranking:
    """A query and its best matches, ready to draw.

    Args:
        query: image and box of the query.
        matches: most similar first.
        title: name of the query ("query 12").
        summary: result of the search ("AP 0.71"); ", " separates its lines on a sheet.
        other_images: further images of the query, if it has several.
    """

    query: PersonImage
    matches: Sequence[MatchImage]
    title: str
    summary: str
    other_images: Sequence[PersonImage] = ()

    def trim(self) -> "Ranking":
        """Return a copy with trimmed query images, enough for an overview."""
        other_images = [trim_to_tile(person) for person in self.other_images]
        return replace(self, query=trim_to_tile(self.query), other_images=other_images)


def trim_to_tile(person: PersonImageT) -> PersonImageT:
    """Return a copy with only the visible part of the image, in the size of a tile at most.

    The box is cut at the borders of the image.
    """
    box = clip_boxes(person.box, person.image.shape)
    window = choose_window(box, person.image.shape, TILE_WIDTH / TILE_HEIGHT)
    x0, y0, x1, y1 = clip_to_image(window, person.image.shape)
    image, box = shrink(person.image[y0:y1, x0:x1], box - (x0, y0, x0, y0), MAX_TILE_SIZE)
    return replace(person, image=image.copy(), box=box)


def make_placeholder(caption: str) -> PersonImage:
    """Return a crossed-out tile in place of an unreadable image."""
    width, height = MAX_TILE_SIZE[0] // 4, MAX_TILE_SIZE[1] // 4
    tile = Image.new("RGB", (width, height), "#ececec")
    draw = ImageDraw.Draw(tile)
    draw.line([0, 0, width, height], fill="#b0b0b0", width=2)
    draw.line([0, height, width, 0], fill="#b0b0b0", width=2)
    return PersonImage(np.asarray(tile), np.array([0, 0, width, height]), caption)


def choose_window(box: np.ndarray, image_shape: tuple[int, ...], aspect: float) -> np.ndarray:
    """Return the part of an image to show around a box.

    The window holds the box and its context. It lies inside the image, or is centered on
    the image along an axis too short for it.

    Args:
        box: (4,) XYXY in pixels of the image.
        image_shape: height, width, ...
        aspect: width / height of the window.

    Returns:
        (4,) XYXY in pixels of the image, float.
    """
    box = np.asarray(box, dtype=float)
    image_size = np.array([image_shape[1], image_shape[0]], dtype=float)
    width, height = (box[2:] - box[:2]) * (1 + 2 * CONTEXT)
    height = max(height, width / aspect, _MIN_HEIGHT)
    size = np.array([height * aspect, height])
    start = (box[:2] + box[2:] - size) / 2
    start = np.where(
        size < image_size, np.clip(start, 0, image_size - size), (image_size - size) / 2
    )
    return np.concatenate([start, start + size])


def clip_to_image(window: np.ndarray, image_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return XYXY of the pixels touched by a window, within the image."""
    height, width = image_shape[:2]
    x0, y0 = np.floor(window[:2]).astype(int)
    x1, y1 = np.ceil(window[2:]).astype(int)
    return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
