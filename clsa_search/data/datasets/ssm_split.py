"""Splits and galleries in the layout of CUHK-SYSU.

Training and search files name persons by boxes. The person id of a box in Images.mat comes from the
box in such a file that is exactly equal.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clsa_search.data.cache import Arrays, load_cached
from clsa_search.data.datasets.ssm_mat import (
    IMAGES_FILE,
    Box,
    ImageBox,
    SearchFile,
    has_size,
    merge_queries,
    read_boxes,
    read_names,
    read_searches,
)
from clsa_search.data.galleries import FirstListings, Gallery, build_gallery
from clsa_search.data.image_checks import read_image_sizes
from clsa_search.data.labeled_boxes import LabeledBoxes
from clsa_search.data.records import Split, build_records, clip_split, load_split, to_corners
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED, Ragged

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SSMLayout:
    """Files of a dataset in the layout of CUHK-SYSU, relative to its folder.

    Args:
        image_folder: folder of all images.
        pool_files: lists of the gallery images.
        query_files: files that together hold every query and all boxes of its person.
        gallery_files: file of each protocol.
    """

    image_folder: Path
    pool_files: tuple[Path, ...]
    query_files: tuple[SearchFile, ...]
    gallery_files: dict[str, SearchFile]


def load_training_split(
    root: Path,
    layout: SSMLayout,
    name: str,
    sources: Sequence[Path],
    read: Callable[[dict[str, list[Box]]], tuple[list[str], list[list[ImageBox]]]],
) -> list[dict]:
    """Load the records of a training split.

    Args:
        root: folder of the dataset.
        layout: layout of the dataset.
        name: name of the split, for the cache.
        sources: files read by `read`.
        read: takes the boxes of all images; returns the images of the split and the boxes of each
            identity.
    """

    def build() -> Split:
        boxes = read_boxes(root)
        names, identities = read(boxes)
        return _build_split(root, layout, names, boxes, identities, queries=[])

    sources = [root / IMAGES_FILE, root / layout.image_folder, *sources]
    return build_records(load_split(root, name, sources, build), root / layout.image_folder)


def load_gallery_split(root: Path, layout: SSMLayout) -> list[dict]:
    """Load the records of the gallery images; query q searches for person q.

    Images of queries missing from all pools follow the images of the pools.
    """

    def build() -> Split:
        positives = _read_queries(root, layout)
        identities = [[query, *boxes] for query, boxes in positives.items()]
        names = _list_images(root, layout, list(positives))
        boxes = read_boxes(root)
        return _build_split(root, layout, names, boxes, identities, queries=list(positives))

    sources = [root / name for name in (IMAGES_FILE, layout.image_folder, *layout.pool_files)]
    sources += [root / file.path for file in layout.query_files]
    return build_records(load_split(root, "gallery", sources, build), root / layout.image_folder)


def load_published_gallery(root: Path, layout: SSMLayout, protocol: str) -> Gallery:
    """Load the gallery of a protocol for the records of `load_gallery_split`.

    Raises:
        InputError: the file of the protocol holds an unknown query or an unknown image.
    """
    file = _below(root, layout.gallery_files[protocol])

    def build() -> Arrays:
        queries = list(_read_queries(root, layout))
        gallery, first = _read_gallery(file, queries, _list_images(root, layout, queries))
        return {
            "query_ids": gallery.query_ids,
            "offsets": gallery.images.offsets,
            "images": gallery.images.values,
            **{f"first_{field}": column for field, column in vars(first).items()},
        }

    sources = [file.path, *(root / name for name in layout.pool_files)]
    sources += [root / other.path for other in layout.query_files]
    arrays = load_cached(root, protocol, sources, build)
    return Gallery(
        query_ids=arrays["query_ids"],
        images=Ragged(arrays["images"], arrays["offsets"]),
        first_listings=FirstListings(
            arrays["first_query_ids"], arrays["first_images"], arrays["first_boxes"]
        ),
    )


def _build_split(
    root: Path,
    layout: SSMLayout,
    names: Sequence[str],
    boxes: dict[str, list[Box]],
    identities: Sequence[Sequence[ImageBox]],
    queries: Sequence[ImageBox],
) -> Split:
    """Build a split of the images `names`; query q is a box of identity q."""
    positions = {name: position for position, name in enumerate(names)}
    sizes = read_image_sizes([root / layout.image_folder / name for name in names])

    def to_columns(labeled: Sequence[tuple[ImageBox, int]]) -> LabeledBoxes:
        rows = [(positions[image], box, person_id) for (image, box), person_id in labeled]
        columns = LabeledBoxes.from_rows(rows)
        return replace(columns, boxes=to_corners(columns.boxes))

    split = Split(
        image_ids=names,
        file_names=names,
        sizes=sizes,
        ground_truth=to_columns(_assign_identities(names, boxes, identities)),
        queries=to_columns([(query, person_id) for person_id, query in enumerate(queries)]),
    )
    return clip_split(split, query_file=root / layout.query_files[0].path)


def _assign_identities(
    names: Sequence[str], boxes: dict[str, list[Box]], identities: Sequence[Sequence[ImageBox]]
) -> list[tuple[ImageBox, int]]:
    """Return all boxes of the images `names` with their person ids.

    A box of an identity labels the first equal box of its image. If there is none, or if it belongs
    to another identity already, the box is added, so that no positive of a query is missing.
    """
    shown = set(names)
    owners: dict[ImageBox, int] = {}
    added = []
    for person, person_boxes in enumerate(identities):
        for image_box in dict.fromkeys(person_boxes):
            if image_box.image not in shown or not has_size(image_box.box):
                continue
            known = image_box.box in boxes.get(image_box.image, ())
            if not known or owners.setdefault(image_box, person) != person:
                added.append((image_box, person))
    if added:
        boxes_are = "box of an identity is" if len(added) == 1 else "boxes of identities are"
        logger.warning("%d %s missing from %s: added", len(added), boxes_are, IMAGES_FILE)
    published = [ImageBox(name, box) for name in names for box in boxes.get(name, ())]
    return [(image_box, owners.pop(image_box, UNLABELED)) for image_box in published] + added


def _read_queries(root: Path, layout: SSMLayout) -> dict[ImageBox, list[ImageBox]]:
    return merge_queries([_below(root, file) for file in layout.query_files])


def _list_images(root: Path, layout: SSMLayout, queries: Sequence[ImageBox]) -> list[str]:
    pools = [name for file in layout.pool_files for name in read_names(root / file)]
    return list(dict.fromkeys([*pools, *(query.image for query in queries)]))


def _read_gallery(
    file: SearchFile, queries: Sequence[ImageBox], names: Sequence[str]
) -> tuple[Gallery, FirstListings]:
    query_ids = {query: query_id for query_id, query in enumerate(queries)}
    positions = {name.encode(): position for position, name in enumerate(names)}
    images: dict[int, np.ndarray] = {}
    first: list[tuple[int, int, Box]] = []
    for number, search in enumerate(read_searches(file)):
        if search.query not in query_ids:
            raise InputError(
                f"{file.path}: query {number} is {search.query}; expected one of the other files"
            )
        try:
            found = map(positions.__getitem__, search.gallery)
            query_id = query_ids[search.query]
            images[query_id] = np.fromiter(found, np.int32, len(search.gallery))
            first += [
                (query_id, positions[image.encode()], box)
                for image, box in _find_first_listings(search.positives)
            ]
        except KeyError as error:
            raise InputError(
                f"{file.path}: the gallery of query {number} lists {error.args[0].decode()!r}; "
                "expected an image of the pool"
            ) from error
    query, image, boxes = zip(*first, strict=True) if first else ((), (), ())
    return build_gallery(images), FirstListings(
        query_ids=np.array(query, dtype=np.int64),
        images=np.array(image, dtype=np.int32),
        boxes=to_corners(boxes),
    )


def _find_first_listings(positives: Sequence[ImageBox]) -> list[ImageBox]:
    """Return the first box of each image that is listed with several boxes."""
    boxes: dict[str, list[Box]] = {}
    for image, box in positives:
        boxes.setdefault(image, []).append(box)
    return [ImageBox(image, listed[0]) for image, listed in boxes.items() if len(set(listed)) > 1]


def _below(root: Path, file: SearchFile) -> SearchFile:
    return file._replace(path=root / file.path)
