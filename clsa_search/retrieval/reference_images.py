"""Reference images of people: one person each, as given for a watch list or a batch of queries."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clsa_search.data.image_io import read_image
from clsa_search.errors import InputError
from clsa_search.retrieval.search_answers import as_text
from clsa_search.retrieval.source_files import list_media
from clsa_search.structures import PersonImage
from clsa_search.wording import count_noun

if TYPE_CHECKING:
    from clsa_search.retrieval.gallery_search import GallerySearch


class Reference(NamedTuple):
    """Images of one person.

    Args:
        name: name of the person: of the file, or of the folder.
        images: one image or several, each with the person's box.
    """

    name: str
    images: list[PersonImage]


def read_reference(gallery: "GallerySearch", path: str | os.PathLike) -> PersonImage:
    """Read an image of one person; an image without a detection is taken as a whole.

    Raises:
        InputError: it is unreadable, or several people are in it.
    """
    pixels = read_image(path, "RGB")
    boxes = gallery.detect(pixels).boxes
    if len(boxes) > 1:
        raise InputError(
            f"{os.fspath(path)}: {count_noun(len(boxes), 'detection')}; expected an image of one "
            "person: cut it out"
        )
    height, width = pixels.shape[:2]
    box = boxes[0] if len(boxes) else np.array([0, 0, width, height], np.float32)
    return PersonImage(pixels, box, as_text(os.path.basename(os.fspath(path))))


def read_references(
    gallery: "GallerySearch", paths: Sequence[str | os.PathLike]
) -> tuple[list[PersonImage], list[str]]:
    """Read the images of one person from files and folders.

    Returns:
        Images, and a reason for each that cannot be used.

    Raises:
        InputError: see :func:`list_media`.
    """
    images, problems = [], []
    for path in list_media(paths).images:
        try:
            images.append(read_reference(gallery, path))
        except InputError as error:
            problems.append(str(error))
    return images, problems


def read_people(
    gallery: "GallerySearch", folder: str | os.PathLike
) -> tuple[list[Reference], list[str]]:
    """Read the people of a folder: each image in it, and each folder in it, is one person.

    Returns:
        People in the order of names, and a reason for each image that cannot be used.

    Raises:
        InputError: it is no folder, or holds no image.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(
            f"{os.fspath(folder)}: {error.strerror}; expected a folder with an image or a folder "
            "of images for each person"
        ) from error
    people, problems = [], []
    for name in names:
        path = os.path.join(folder, name)
        if name.startswith("."):
            continue
        try:
            images, faults = read_references(gallery, [path])
        except InputError as error:  # no image
            images, faults = [], [str(error)]
        problems += faults
        if images:
            name = name if os.path.isdir(path) else os.path.splitext(name)[0]
            people.append(Reference(as_text(name), images))
    if not people and not problems:
        raise InputError(f"{os.fspath(folder)}: is empty; expected images of people")
    return people, problems
