"""Selection of the persons of a query image."""

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np

from clsa_search.errors import InputError
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.predictor import check_boxes
from clsa_search.structures import ImageDetections, PersonImage


class AmbiguousQuery(InputError):
    """Several persons in a query image, and no choice among them.

    Args:
        path: query image.
        detections: its detections, most confident first.
    """

    def __init__(self, path: str | os.PathLike, detections: ImageDetections) -> None:
        self.detections = detections
        count = len(detections)
        super().__init__(
            f"{path}: {count} detections; expected a number from 1 to {count}, all, or a box"
        )


def select_persons(
    gallery: GallerySearch,
    image: np.ndarray,
    path: str | os.PathLike,
    *,
    box: Sequence[float] | None = None,
    person: int | Literal["all"] | None = None,
) -> list[PersonImage]:
    """Return the person in a box, or one or all of the detections of an image.

    Args:
        gallery: gallery with its predictor.
        image: (H, W, 3) RGB uint8.
        path: file of the image, for captions and messages.
        box: (4,) XYXY in pixels of the image, cut at its borders.
        person: number of a detection from 1, most confident first; None for the only one.

    Raises:
        InputError: there is no detection, no such number, or the box lies outside the image.
        AmbiguousQuery: there are several detections, and `person` is None.
    """
    # file names may hold bytes of no text
    name = os.fsencode(os.path.basename(path)).decode(errors="replace")
    if box is not None:
        try:
            (clipped,) = check_boxes([box], image)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        return [PersonImage(image, clipped, name)]
    detections = gallery.detect(image)
    count = len(detections)
    if not count:
        score = gallery.predictor.min_score
        raise InputError(f"{path}: no detection with score {score:g} or more; expected a box")
    if person is None and count > 1:
        raise AmbiguousQuery(path, detections)
    if isinstance(person, int) and not 1 <= person <= count:
        raise InputError(f"{path}: person {person}; expected a number from 1 to {count}")
    numbers = range(1, count + 1) if person == "all" else [person or 1]
    return [PersonImage(image, detections.boxes[n - 1], f"{name}, person {n}") for n in numbers]
