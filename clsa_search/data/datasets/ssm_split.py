"""Splits and galleries out of files like CUHK-SYSU's: who is who, and what is searched where.

A person is whoever of Images.mat has exactly the box that a training or search file gives.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clsa_search.data.cache import load_cached
from clsa_search.data.datasets.ssm_mat import (
    IMAGES_FILE,
    Box,
    SearchFile,
    Sighting,
    has_size,
    merge_queries,
    read_boxes,
    read_names,
    read_searches,
)
from clsa_search.data.galleries import Gallery, build_gallery
from clsa_search.data.image_io import read_image_sizes
from clsa_search.data.records import Columns, People, build_records, fill_columns, load_columns
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED, Ragged

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchLayout:
    """Where a dataset keeps what is searched; paths are relative to its folder."""

    image_folder: Path
    pool_files: tuple[Path, ...]
    query_files: tuple[SearchFile, ...]  # which together list every query and its person's boxes
    gallery_files: dict[str, SearchFile]  # by protocol


def load_searched(root: Path, layout: SearchLayout) -> list[dict]:
    """The records of the images to search; person q is whom query q searches for.

    An image of a query that is in no pool comes after those that are.
    """
    sources = [root / name for name in (IMAGES_FILE, layout.image_folder, *layout.pool_files)]

    def build() -> Columns:
        queries = _read_queries(root, layout)
        identities = [[query, *found] for query, found in queries.items()]
        names = _list_images(root, layout, list(queries))
        return build_columns(
            root / layout.image_folder,
            names,
            read_boxes(root),
            identities,
            queries=list(queries),
            query_file=root / layout.query_files[0].path,
        )

    sources += [root / file.path for file in layout.query_files]
    return build_records(load_columns(root, "gallery", sources, build), root / layout.image_folder)


def load_protocol(root: Path, layout: SearchLayout, protocol: str) -> Gallery:
    """The published gallery of this name, over the records of `load_searched`.

    Raises:
        InputError: its file has a query that the split has not, or lists an unknown image.
    """
    file = _below(root, layout.gallery_files[protocol])

    def build() -> dict[str, np.ndarray]:
        queries = list(_read_queries(root, layout))
        gallery = _read_gallery(file, queries, _list_images(root, layout, queries))
        rows = gallery.images
        return {"query_ids": gallery.query_ids, "images": rows.values, "offsets": rows.offsets}

    sources = [file.path, *(root / name for name in layout.pool_files)]
    sources += [root / other.path for other in layout.query_files]
    arrays = load_cached(root, protocol, sources, build)
    return Gallery(arrays["query_ids"], Ragged(arrays["images"], arrays["offsets"]))


def build_columns(
    image_folder: Path,
    names: Sequence[str],
    boxes: dict[str, list[Box]],
    identities: Sequence[Sequence[Sighting]],
    *,
    queries: Sequence[Sighting] = (),
    query_file: Path | None = None,
) -> Columns:
    """A split of the images `names`; query q, of `query_file`, is a sighting of identity q.

    Raises:
        InputError: a query's box is empty or outside its image, or an image is not there.
    """
    positions = {name: i for i, name in enumerate(names)}
    sizes = read_image_sizes([image_folder / name for name in names])

    def place(people: Sequence[tuple[str, Box, int]]) -> People:
        return People(
            images=np.array([positions[name] for name, _, _ in people], dtype=np.int64),
            boxes=np.array([box for _, box, _ in people]),
            person_ids=np.array([person for _, _, person in people], dtype=np.int64),
        )

    return fill_columns(
        place(_label(names, boxes, identities)),
        place([(*query, person) for person, query in enumerate(queries)]),
        sizes=sizes,
        query_file=query_file,
        image_ids=names,
        file_names=names,
    )


def _label(
    names: Sequence[str], boxes: dict[str, list[Box]], identities: Sequence[Sequence[Sighting]]
) -> list[tuple[str, Box, int]]:
    """(image, box, identity) of everybody in the images.

    A sighting names the first box that equals it. Without such a box, or where the box is another
    identity's already, it becomes a box of its own: what a search looks for is always there.
    """
    shown = set(names)
    owners: dict[Sighting, int] = {}
    added = []
    for person, sightings in enumerate(identities):
        for sighting in dict.fromkeys(sightings):
            if sighting.image not in shown or not has_size(sighting.box):
                continue
            known = sighting.box in boxes.get(sighting.image, ())
            if not known or owners.setdefault(sighting, person) != person:
                added.append((*sighting, person))
    if added:
        logger.warning("%d sightings have no box of their own in %s", len(added), IMAGES_FILE)
    people = [Sighting(name, box) for name in names for box in boxes.get(name, ())]
    return [(*person, owners.pop(person, UNLABELED)) for person in people] + added


def _read_queries(root: Path, layout: SearchLayout) -> dict[Sighting, list[Sighting]]:
    return merge_queries([_below(root, file) for file in layout.query_files])


def _list_images(root: Path, layout: SearchLayout, queries: Sequence[Sighting]) -> list[str]:
    pools = [name for file in layout.pool_files for name in read_names(root / file)]
    return list(dict.fromkeys([*pools, *(query.image for query in queries)]))


def _read_gallery(file: SearchFile, queries: Sequence[Sighting], names: Sequence[str]) -> Gallery:
    rows = {query: row for row, query in enumerate(queries)}
    positions = {name.encode(): i for i, name in enumerate(names)}
    listings: dict[int, np.ndarray] = {}
    for number, search in enumerate(read_searches(file)):
        if search.query not in rows:
            raise InputError(
                f"{file.path}: query {number} is {search.query}; expected one of the other files"
            )
        try:
            places = map(positions.__getitem__, search.images)
            listings[rows[search.query]] = np.fromiter(places, np.int32, len(search.images))
        except KeyError as error:
            raise InputError(
                f"{file.path}: the gallery of query {number} lists {error.args[0].decode()!r}; "
                "expected an image of the pool"
            ) from error
    return build_gallery(listings)


def _below(root: Path, file: SearchFile) -> SearchFile:
    return file._replace(path=root / file.path)
