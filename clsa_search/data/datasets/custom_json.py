"""The custom JSON format: COCO with identities, cameras and queries, one file per split.

    images       [{id, file_name, width, height, cam_id?}]
    annotations  [{id, image_id, bbox [x, y, width, height], category_id, person_id?, iscrowd?}]
    categories   [{id, name}]                         one, the person; of several, one is chosen
    queries      [{id, image_id, bbox, person_id}]    optional; none in a training split
    galleries    {name: {query id: [image id, ...]}}  optional, fixed galleries

Boxes are in pixels from the top left corner of the image: the box of a whole image is
[0, 0, width, height]. A `person_id` of -1 or -2 or no `person_id` means that the identity is not
known. Crowd regions (`iscrowd` 1) are ignored. `datasets/README.md` shows a complete file.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clsa_search.data.datasets.foreign_labels import PERSON_ID, choose_category, read_person_ids
from clsa_search.data.datasets.json_reader import (
    Section,
    is_file_name,
    is_id,
    is_integer,
    is_size,
    read_document,
    show,
)
from clsa_search.data.galleries import FULL_PROTOCOLS, Gallery, build_gallery
from clsa_search.data.labeled_boxes import LabeledBoxes
from clsa_search.data.records import Split, build_records
from clsa_search.errors import InputError

_LARGEST_ID = 2**63


class CustomSplit(NamedTuple):
    """A split of a JSON file.

    Args:
        columns: images, boxes and queries, with the person ids of the file.
        boxes: position of each ground-truth box in the file's list of annotations.
        category: id of the category of persons.
    """

    columns: Split
    boxes: np.ndarray
    category: int | str


def load_custom_json(
    json_file: str | os.PathLike,
    image_root: str | os.PathLike | None = None,
    *,
    id_field: str = PERSON_ID,
    category: str | None = None,
    dataset_name: str | None = None,
) -> list[dict]:
    """Load a split as Detectron2's records, one per image, in the order of the file.

    Args:
        json_file: file of the split.
        image_root: folder of the images; by default the folder of `json_file`.
        id_field: field of the identity in annotations, such as "attributes.track_id" (CVAT).
        category: name or id of the category of persons; None if the file has only one category.
        dataset_name: if given, its metadata get `thing_dataset_id_to_contiguous_id`, for
            Detectron2's COCOEvaluator.

    Returns:
        Dicts with `file_name`, `image_id` (as in the file), `height`, `width`, `cam_id` (only if
        known) and

        - `annotations`: `bbox` [x0, y0, x1, y1] in pixels, clipped to the image, `bbox_mode`,
          `category_id` 0, `person_id` or UNLABELED. Person ids of annotations and queries together
          are renumbered from 0 without gaps, in the order of the ids in the file;
        - `queries` (only if the image has some): `query_id`, the position in the file's list of
          queries, and `bbox` and `person_id` as above.

    Raises:
        InputError: the file is missing or not in the format; the message names file, entry, field,
            value and the expected value.
    """
    path = Path(json_file)
    split = parse_split(read_document(path), path, id_field=id_field, category=category)
    if dataset_name is not None:
        from detectron2.data import MetadataCatalog  # slow to import

        # not with Metadata.set: it refuses a second value, and files change
        metadata = vars(MetadataCatalog.get(dataset_name))
        metadata["thing_dataset_id_to_contiguous_id"] = {split.category: 0}
    root = Path(image_root or path.parent)
    names = [find_file_name(root, str(name)) for name in split.columns.file_names]
    return build_records(replace(split.columns, file_names=names), root)


def find_file_name(root: Path, name: str) -> str:
    """Return a file name with slashes, unless a file below the root is named with backslashes."""
    if "\\" in name and not os.path.exists(os.path.join(root, name)):
        return name.replace("\\", "/")
    return name


def load_custom_galleries(json_file: str | os.PathLike) -> dict[str, Callable[[], Gallery]]:
    """Return a function that builds the gallery, for each fixed gallery of a split.

    Raises:
        InputError: see `load_custom_json`.
    """
    path = Path(json_file)
    document = read_document(path)
    positions = _positions(Section(document, "images", path))
    queries = _positions(Section(document, "queries", path, required=False))
    _check_galleries(document, path, positions)
    numbers = {str(query_id): number for query_id, number in queries.items()}
    return {
        name: partial(
            build_gallery,
            {numbers[key]: [positions[i] for i in images] for key, images in gallery.items()},
        )
        for name, gallery in document.get("galleries", {}).items()
    }


def parse_split(
    document: dict, path: Path, *, id_field: str = PERSON_ID, category: str | None = None
) -> CustomSplit:
    """Parse the object of a file.

    Args:
        document: object of the file.
        path: the file, for messages.
        id_field: see `load_custom_json`.
        category: see `load_custom_json`.
    """
    images = Section(document, "images", path)
    positions = _positions(images)
    sizes = _read_sizes(images)
    categories = Section(document, "categories", path)
    annotations = Section(document, "annotations", path)
    queries = Section(document, "queries", path, required=False)
    annotations.unique_ids()
    queries.unique_ids()
    person = choose_category(categories, annotations, category)
    boxes = _select_persons(annotations, categories, person)
    annotations = annotations.select(boxes)
    person_ids, query_person_ids = read_person_ids(annotations, queries, id_field)
    split = Split(
        image_ids=list(positions),
        file_names=images.column("file_name", is_file_name, "the image's file"),
        sizes=sizes,
        ground_truth=_read_boxes(annotations, person_ids, positions, sizes),
        queries=_read_boxes(queries, query_person_ids, positions, sizes),
        cam_ids=images.column(
            "cam_id",
            lambda v: is_integer(v) and abs(v) < _LARGEST_ID,
            "an integer of 64 bits, or no such field",
            default=None,
        ),
    )
    _check_galleries(document, path, positions)
    return CustomSplit(split, boxes, person)


def _positions(section: Section) -> dict[int | str, int]:
    """Return the position of each id in a section."""
    return {entry_id: position for position, entry_id in enumerate(section.unique_ids())}


def _read_sizes(images: Section) -> np.ndarray:
    """Return (N, 2) width and height of the images."""
    widths = images.column("width", is_size, "the image's width in pixels, an integer above 0")
    heights = images.column("height", is_size, "the image's height in pixels, an integer above 0")
    return np.array([widths, heights], dtype=np.int64).T.reshape(-1, 2)


def _select_persons(annotations: Section, categories: Section, person: int | str) -> np.ndarray:
    """Return the positions of the annotations of persons, without crowd regions."""
    ids = [category["id"] for category in categories.entries]
    expected = f"{person!r}, the one in 'categories'" if len(ids) == 1 else f"one of {ids}"
    found = annotations.column("category_id", lambda v: v in ids, expected)
    crowds = annotations.column("iscrowd", lambda v: v in (0, 1), "0 or 1", default=0)
    return np.flatnonzero(
        [category == person and not crowd for category, crowd in zip(found, crowds, strict=True)]
    )


def _read_boxes(
    section: Section, person_ids: np.ndarray, positions: dict, sizes: np.ndarray
) -> LabeledBoxes:
    images = section.image_positions(positions)
    return LabeledBoxes(images, section.boxes(sizes[images]), person_ids)


def _check_galleries(document: dict, path: Path, positions: dict) -> None:
    galleries = document.get("galleries", {})
    if not isinstance(galleries, dict) or not all(isinstance(g, dict) for g in galleries.values()):
        raise InputError(
            f"{path}: 'galleries' is {show(galleries)}; "
            "expected {name: {query id: [image id, ...]}}"
        )
    query_ids = {str(query["id"]) for query in document.get("queries", [])}
    for name, gallery in galleries.items():
        if name in FULL_PROTOCOLS:
            raise InputError(
                f"{path}: galleries[{name!r}] has the name of a protocol of every dataset; "
                f"expected another name than {' and '.join(FULL_PROTOCOLS)}"
            )
        for query_id, images in gallery.items():
            where = f"{path}: galleries[{name!r}][{query_id!r}]"
            if query_id not in query_ids:
                raise InputError(f"{where}: expected the id of an entry of 'queries' as key")
            if not isinstance(images, list):
                raise InputError(f"{where} is {show(images)}; expected a list of image ids")
            for image_id in images:
                if not is_id(image_id) or image_id not in positions:
                    raise InputError(
                        f"{where} holds {show(image_id)}; expected ids of entries of 'images'"
                    )
