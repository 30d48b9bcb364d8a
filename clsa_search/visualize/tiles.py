"""What pictures of a search show: people in their scenes, and the rankings that they stand in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from clsa_search.structures import PersonImage

TILE_WIDTH, TILE_HEIGHT = 1.14, 1.62  # inches on a sheet; the proportions hold everywhere
CONTEXT = 0.22  # shown around a box on every side, relative to its height and width
_LEAST = 2.0  # pixels of height that are shown, be a box ever so small


PersonImageT = TypeVar("PersonImageT", bound=PersonImage)


@dataclass(frozen=True)
class MatchImage(PersonImage):
    """A place in a ranking: cosine similarity to the query, and whether it is the person."""

    similarity: float = 0.0
    correct: bool | None = None  # None: nobody knows


@dataclass(frozen=True)
class Ranking:
    """A query, its best matches in order, its name ("query 12") and what came of it ("AP 0.71")."""

    query: PersonImage
    matches: Sequence[MatchImage]
    title: str
    verdict: str
    further: Sequence[PersonImage] = ()  # pictures of the query, where it has several

    def trim(self) -> "Ranking":
        """Without the query's whole scene, which only its own sheet shows."""
        further = [trim_to_tile(sighting) for sighting in self.further]
        return replace(self, query=trim_to_tile(self.query), further=further)


def trim_to_tile(person: PersonImageT) -> PersonImageT:
    """Return a copy with only the part of the image that a tile shows, to save memory."""
    window = choose_window(person.box, person.image.shape, TILE_WIDTH / TILE_HEIGHT)
    x0, y0, x1, y1 = meet_image(window, person.image.shape)
    box = np.subtract(person.box, (x0, y0, x0, y0))
    return replace(person, image=person.image[y0:y1, x0:x1].copy(), box=box)


def choose_window(box: np.ndarray, image_shape: tuple[int, ...], aspect: float) -> np.ndarray:
    """The part of an image to show around a box: (4,) XYXY of the given width / height.

    It holds the box and its context, lies inside the image where it fits, and is centered on the
    image in a direction in which the image is too small.
    """
    box = np.asarray(box, dtype=float)
    image_size = np.array([image_shape[1], image_shape[0]], dtype=float)
    width, height = (box[2:] - box[:2]) * (1 + 2 * CONTEXT)
    height = max(height, width / aspect, _LEAST)
    size = np.array([height * aspect, height])
    start = (box[:2] + box[2:] - size) / 2
    start = np.where(
        size < image_size, np.clip(start, 0, image_size - size), (image_size - size) / 2
    )
    return np.concatenate([start, start + size])


def meet_image(window: np.ndarray, image_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Whole pixels of the image that the window touches, XYXY."""
    height, width = image_shape[:2]
    x0, y0 = np.floor(window[:2]).astype(int)
    x1, y1 = np.ceil(window[2:]).astype(int)
    return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
