"""The MATLAB files of CUHK-SYSU, whose layout MovieNet-PS took over.

    annotation/Images.mat                   Img: (imname, nAppear, box[(idlocate, ishard)])
    annotation/pool*.mat                    pool: names of the images to search
    annotation/test/train_test/Train*.mat   Train: (idname, nAppear, scenes[S]) of each identity
    annotation/test/train_test/TestG*.mat   (Query: S and idname, Gallery[S]) of each search

where S is (imname, idlocate, ishard). `idlocate` is x, y, width, height, often as uint8, and empty
for an image of the gallery where the person is not.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clsa_search.data.datasets.mat_file import BrokenError, Table, iterate_structs, load_variable
from clsa_search.errors import InputError

IMAGES_FILE = Path("annotation/Images.mat")
SEARCH_FOLDER = Path("annotation/test/train_test")

Box = tuple[float, float, float, float]  # x, y, width, height, as in the files


class Sighting(NamedTuple):
    """A person in an image."""

    image: str
    box: Box


class Search(NamedTuple):
    """A query, the images to search in the file's order, and the person in them."""

    query: Sighting
    images: list[bytes]  # names; millions of them, hence bytes
    found: list[Sighting]


class SearchFile(NamedTuple):
    """A file of searches and the name of its variable."""

    path: Path
    variable: str


def read_boxes(root: Path) -> dict[str, list[Box]]:
    """The boxes of every image in Images.mat; those without width or height are left out."""
    path = root / IMAGES_FILE
    boxes = {}
    with _published_layout(path):
        for name, _, people in _rows(load_variable(path, "Img"), 3):
            found = [_to_box(person[0]) for person in _rows(people, 2) if person[0].size]
            boxes[_to_text(name)] = [box for box in found if has_size(box)]
    return boxes


def read_names(path: Path) -> list[str]:
    """The names in a pool file, each once."""
    with _published_layout(path):
        return list(dict.fromkeys(_to_text(name) for name in load_variable(path, "pool").ravel()))


def read_train(path: Path) -> list[list[Sighting]]:
    """The sightings of each identity of a training file."""
    with _published_layout(path):
        train = load_variable(path, "Train")
        if train.dtype.names:
            identities = train.ravel()
        elif train.ravel()[0].dtype.names:  # CUHK-SYSU: a cell an identity, a struct in it
            identities = [cell.ravel()[0] for cell in train.ravel()]
        else:  # MovieNet-PS: a row of cells an identity
            identities = train
        return [
            [Sighting(_to_text(name), _to_box(box)) for name, box, _ in _rows(identity[2], 3)]
            for identity in identities
        ]


def read_searches(file: SearchFile) -> Iterator[Search]:
    """The searches of a file, in its order."""
    return iterate_structs(file.path, file.variable, _parse_search)


def merge_queries(files: Sequence[SearchFile]) -> dict[Sighting, list[Sighting]]:
    """The queries of several files, each once, with all that any file says is found."""
    queries: dict[Sighting, list[Sighting]] = {}
    for file in files:
        for search in read_searches(file):
            queries.setdefault(search.query, []).extend(search.found)
    return {query: list(dict.fromkeys(found)) for query, found in queries.items()}


def _parse_search(element: dict[str, Table]) -> Search:
    query, gallery = element["Query"], element["Gallery"]
    names = gallery.texts("imname").tolist()
    return Search(
        query=Sighting(query.texts("imname")[0].decode(), _to_box(query.arrays("idlocate").get(0))),
        images=names,
        found=[
            Sighting(names[row].decode(), _to_box(box))
            for row, box in gallery.arrays("idlocate").items()
        ],
    )


def _rows(table: np.ndarray, width: int) -> list[Sequence]:
    """The rows of an array of structs, or of cells with so many columns."""
    if table.dtype.names:
        return table.ravel().tolist()
    return list(table.reshape(-1, width))


def _to_text(value: np.ndarray | str) -> str:
    while isinstance(value, np.ndarray):
        value = value.ravel()[0]
    return str(value)


def _to_box(value: np.ndarray | None) -> Box:
    """Plain numbers, so that nothing overflows when they are added."""
    numbers = [] if value is None else value.ravel().tolist()
    if len(numbers) != 4:
        raise BrokenError(f"idlocate is {numbers}; expected x, y, width, height")
    x, y, width, height = map(float, numbers)
    return x, y, width, height


def has_size(box: Box) -> bool:
    return box[2] > 0 and box[3] > 0


@contextmanager
def _published_layout(path: Path) -> Iterator[None]:
    try:
        yield
    except (BrokenError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not in the layout as published: {error}") from error
