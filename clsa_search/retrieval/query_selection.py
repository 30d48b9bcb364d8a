"""Which person of a picture is meant, and when: what a user says, in words."""

import os
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from clsa_search.errors import InputError
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.predictor import check_boxes
from clsa_search.structures import ImageDetections
from clsa_search.visualize import PersonImage

_MAY_BE_NEGATIVE = "--box", "--since", "--until", "--start-time"


class Undecided(InputError):
    """A picture shows several people, and none was chosen; carries them, in their order."""

    def __init__(self, name: str, people: ImageDetections) -> None:
        self.people = people
        count = len(people.scores)
        super().__init__(
            f"{name}: shows {count} people; expected a number from 1 to {count}, all, or a box"
        )


def choose_people(
    gallery: GallerySearch,
    image: np.ndarray,
    path: str | os.PathLike,
    *,
    box: np.ndarray | None = None,
    person: int | Literal["all"] | None = None,
) -> list[PersonImage]:
    """The people of a picture that are meant: those in a box, or some that are detected.

    Args:
        gallery: whose model detects.
        image: (H, W, 3) RGB uint8.
        path: of the picture, for captions and errors.
        box: (4,) XYXY of a person.
        person: a number from 1, in the order of detection scores; or all. None: the only one.

    Raises:
        InputError: nobody is detected, there is no such number, or the box is not in the picture.
        Undecided: several are detected, and `person` is None.
    """
    # which need not be text
    name = os.fsencode(os.path.basename(path)).decode(errors="replace")
    if box is not None:
        try:
            check_boxes([box], image)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        return [PersonImage(image, box, name)]
    people = gallery.detect(image)
    count = len(people.scores)
    if not count:
        score = gallery.predictor.min_score
        raise InputError(f"{path}: nobody is found with score {score:g} or more; expected a box")
    if person is None and count > 1:
        raise Undecided(str(path), people)
    if isinstance(person, int) and not 1 <= person <= count:
        raise InputError(f"{path}: person {person}; expected a number from 1 to {count}")
    numbers = range(1, count + 1) if person == "all" else [person or 1]
    return [PersonImage(image, people.boxes[n - 1], f"{name}, person {n}") for n in numbers]


def join_negatives(words: Sequence[str]) -> list[str]:
    """A command's words with `--box=-5,61,181,188` for two: argparse would see two options."""
    joined = []
    for word in words:
        if joined and joined[-1] in _MAY_BE_NEGATIVE and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def parse_box(text: str, path: str | os.PathLike) -> np.ndarray:
    """ "x1,y1,x2,y2" in pixels, as (4,).

    Args:
        text: what was said.
        path: of the picture, for errors.

    Raises:
        InputError: it is not that.
    """
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError as error:
        raise InputError(f"{path}: box: {text!r}; expected x1,y1,x2,y2 in pixels") from error
    return np.array([x0, y0, x1, y1])
