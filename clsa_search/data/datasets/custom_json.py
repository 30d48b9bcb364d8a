"""The custom JSON format: COCO with identities, cameras and queries, one file per split.

    images       [{id, file_name, width, height, cam_id?}]
    annotations  [{id, image_id, bbox [x, y, width, height], category_id, person_id?, iscrowd?}]
    categories   [{id, name}]                         exactly one, the person
    queries      [{id, image_id, bbox, person_id}]    optional; none in a training split
    galleries    {name: {query id: [image id, ...]}}  optional, fixed galleries

Boxes are in pixels from the top left corner of the image: the box of a whole image is
[0, 0, width, height]. A `person_id` of -1 or no `person_id` means that the identity is not known.
Crowd regions (`iscrowd` 1) are ignored. `datasets/README.md` shows a complete file.
"""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clsa_search.atomic_io import replace_file
from clsa_search.data.datasets.json_reader import (
    Section,
    is_box,
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
from clsa_search.structures import UNLABELED
from clsa_search.wording import count_noun

PERSON_CATEGORY = {"id": 1, "name": "person"}
_LARGEST_ID = 2**63


def load_custom_json(
    json_file: str | os.PathLike, image_root: str | os.PathLike | None = None
) -> list[dict]:
    """Load a split as Detectron2's records, one per image, in the order of the file.

    Args:
        json_file: file of the split.
        image_root: folder of the images; by default the folder of `json_file`.

    Returns:
        Dicts with `file_name`, `image_id` (str), `height`, `width`, `cam_id` (only if known) and

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
    split = _parse_split(read_document(path), path)
    return build_records(split, Path(image_root or path.parent))


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


def save_custom_json(
    path: str | os.PathLike,
    *,
    images: Sequence[dict],
    annotations: Sequence[dict],
    queries: Sequence[dict] = (),
    galleries: dict[str, dict] | None = None,
    info: dict | None = None,
) -> None:
    """Check a split and write it atomically.

    All arguments are entries of the format. Missing fields of COCO are added: ids (annotations
    from 1, because pycocotools takes an id of 0 for "no match"; queries from 0), `category_id`,
    `area` and `iscrowd`. NumPy numbers become plain numbers.

    Raises:
        InputError: an entry is not in the format; nothing is written.
    """
    path = Path(path)
    document: dict[str, Any] = {
        "info": info or {},
        "images": list(images),
        "annotations": [_complete(i, entry) for i, entry in enumerate(annotations, start=1)],
        "categories": [PERSON_CATEGORY],
    }
    if queries:
        document["queries"] = [{"id": i} | query for i, query in enumerate(queries)]
    if galleries:
        document["galleries"] = galleries
    text = json.dumps(document, default=_to_plain)
    _parse_split(json.loads(text), path)
    with replace_file(path) as file:
        file.write(text.encode())


def _complete(annotation_id: int, annotation: dict) -> dict:
    """Add the missing fields of COCO to an annotation."""
    fields = {"id": annotation_id, "category_id": PERSON_CATEGORY["id"], "iscrowd": 0} | annotation
    if is_box(box := _to_plain(fields.get("bbox"))):
        fields.setdefault("area", box[2] * box[3])
    return fields


def _to_plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _parse_split(document: dict, path: Path) -> Split:
    images = Section(document, "images", path)
    positions = _positions(images)
    names = images.column("file_name", is_file_name, "the image's file")
    widths = images.column("width", is_size, "the image's width in pixels, an integer above 0")
    heights = images.column("height", is_size, "the image's height in pixels, an integer above 0")
    cameras = images.column(
        "cam_id",
        lambda v: is_integer(v) and abs(v) < _LARGEST_ID,
        "an integer of 64 bits, or no such field",
        default=None,
    )
    sizes = np.array([widths, heights], dtype=np.int64).T.reshape(-1, 2)
    split = Split(
        image_ids=list(positions),
        file_names=names,
        sizes=sizes,
        ground_truth=_parse_annotations(document, path, positions, sizes),
        queries=_parse_queries(document, path, positions, sizes),
        cam_ids=cameras,
    )
    _check_galleries(document, path, positions)
    return split


def _positions(section: Section) -> dict[int | str, int]:
    """Return the position of each id in a section."""
    return {entry_id: position for position, entry_id in enumerate(section.unique_ids())}


def _parse_annotations(
    document: dict, path: Path, positions: dict, sizes: np.ndarray
) -> LabeledBoxes:
    """Return the annotations except crowd regions, with the person ids of the file."""
    categories = Section(document, "categories", path)
    if len(categories.entries) != 1:
        raise InputError(
            f"{path}: 'categories' has {count_noun(len(categories.entries), 'entry', 'entries')}; "
            "expected one, the person"
        )
    (category,) = categories.unique_ids()
    section = Section(document, "annotations", path)
    section.unique_ids()
    section.column("category_id", lambda v: v == category, f"{category!r}, the one in 'categories'")
    crowds = section.column("iscrowd", lambda v: v in (0, 1), "0 or 1", default=0)
    person_ids = section.column(
        "person_id",
        lambda v: is_integer(v) and UNLABELED <= v < _LARGEST_ID,
        "an integer, at least 0, or -1 (or no such field) for an unknown identity",
        default=UNLABELED,
    )
    images = section.image_positions(positions)
    boxes = LabeledBoxes(images, section.boxes(sizes[images]), np.array(person_ids, dtype=np.int64))
    return boxes[np.array(crowds, dtype=np.int64) == 0]


def _parse_queries(document: dict, path: Path, positions: dict, sizes: np.ndarray) -> LabeledBoxes:
    """Return the queries with the person ids of the file."""
    section = Section(document, "queries", path, required=False)
    section.unique_ids()
    person_ids = section.column(
        "person_id",
        lambda v: is_integer(v) and 0 <= v < _LARGEST_ID,
        "the person to find, an integer at least 0",
    )
    images = section.image_positions(positions)
    return LabeledBoxes(images, section.boxes(sizes[images]), np.array(person_ids, dtype=np.int64))


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
