"""The MATLAB files of CUHK-SYSU; MovieNet-PS has the same layout.

    annotation/Images.mat                   Img: (imname, nAppear, box[(idlocate, ishard)])
    annotation/pool*.mat                    pool: names of the gallery images
    annotation/test/train_test/Train*.mat   Train: (idname, nAppear, scenes[S]) per identity
    annotation/test/train_test/TestG*.mat   (Query: S and idname, Gallery[S]) per query

where S is (imname, idlocate, ishard). `idlocate` is x, y, width, height, often as uint8; it is
empty for a gallery image without the person. Queries may have further fields, such as the number
in Occlusion.mat.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clsa_search.data.datasets.mat_elements import BrokenError
from clsa_search.data.datasets.mat_file import iterate_structs, load_variable
from clsa_search.data.datasets.mat_table import Table
from clsa_search.errors import InputError

IMAGES_FILE = Path("annotation/Images.mat")
SEARCH_FOLDER = Path("annotation/test/train_test")

Box = tuple[float, float, float, float]
"""A box [x, y, width, height] as in the files, in plain numbers."""


class ImageBox(NamedTuple):
    """A box in an image, given by its name."""

    image: str
    box: Box


class Search(NamedTuple):
    """A query with its gallery.

    Args:
        query: box of the query.
        gallery: names of the gallery images in the file's order; bytes, because they are millions.
        positives: boxes of the query's person in gallery images.
    """

    query: ImageBox
    gallery: list[bytes]
    positives: list[ImageBox]


class SearchFile(NamedTuple):
    """A file of queries with their galleries, and the name of its variable."""

    path: Path
    variable: str


def read_boxes(root: Path) -> dict[str, list[Box]]:
    """Return the boxes of each image in Images.mat, without those of width or height 0."""
    path = root / IMAGES_FILE
    boxes = {}
    with _published_layout(path):
        for name, _, table in _rows(load_variable(path, "Img"), 3):
            found = [_to_box(row[0]) for row in _rows(table, 2) if row[0].size]
            boxes[_to_text(name)] = [box for box in found if has_size(box)]
    return boxes


def read_names(path: Path) -> list[str]:
    """Return the image names of a pool file, each once."""
    with _published_layout(path):
        return list(dict.fromkeys(_to_text(name) for name in load_variable(path, "pool").ravel()))


def read_identities(path: Path) -> list[list[ImageBox]]:
    """Return the boxes of each identity in a training file."""
    with _published_layout(path):
        train = load_variable(path, "Train")
        if train.dtype.names:
            identities = list(train.ravel())
        elif train.ravel()[0].dtype.names:  # CUHK-SYSU: a cell per identity, with a struct
            identities = [cell.ravel()[0] for cell in train.ravel()]
        else:  # MovieNet-PS: a row of cells per identity
            identities = list(train)
        return [
            [ImageBox(_to_text(name), _to_box(box)) for name, box, _ in _rows(identity[2], 3)]
            for identity in identities
        ]


def read_searches(file: SearchFile) -> Iterator[Search]:
    """Yield the queries of a file with their galleries, in the order of the file."""
    return iterate_structs(file.path, file.variable, _parse_search)


def merge_queries(files: Sequence[SearchFile]) -> dict[ImageBox, list[ImageBox]]:
    """Return the queries of several files, each once, with their positives in any of the files."""
    positives: dict[ImageBox, list[ImageBox]] = {}
    for file in files:
        for search in read_searches(file):
            positives.setdefault(search.query, []).extend(search.positives)
    return {query: list(dict.fromkeys(boxes)) for query, boxes in positives.items()}


def has_size(box: Box) -> bool:
    """Return whether width and height of a box are above 0."""
    return box[2] > 0 and box[3] > 0


def _parse_search(element: dict[str, bytes]) -> Search:
    query, gallery = Table(element["Query"]), Table(element["Gallery"])
    names = gallery.texts("imname").tolist()
    return Search(
        query=ImageBox(query.texts("imname")[0].decode(), _to_box(query.arrays("idlocate").get(0))),
        gallery=names,
        positives=[
            ImageBox(names[row].decode(), _to_box(box))
            for row, box in gallery.arrays("idlocate").items()
        ],
    )


def _rows(table: np.ndarray, width: int) -> list[Sequence]:
    """Return the rows of an array of structs, or of cells with `width` columns."""
    if table.dtype.names:
        return table.ravel().tolist()
    return list(table.reshape(-1, width))


def _to_text(value: np.ndarray | str) -> str:
    while isinstance(value, np.ndarray):
        value = value.ravel()[0]
    return str(value)


def _to_box(value: np.ndarray | None) -> Box:
    # plain numbers, because sums of uint8 would overflow
    numbers = [] if value is None else value.ravel().tolist()
    if len(numbers) != 4:
        raise BrokenError(f"idlocate is {numbers}; expected x, y, width, height")
    x, y, width, height = map(float, numbers)
    return x, y, width, height


@contextmanager
def _published_layout(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a file in another layout can fail at any step
        raise InputError(f"{path}: not in the layout as published: {error}") from error
