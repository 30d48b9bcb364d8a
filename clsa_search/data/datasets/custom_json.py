"""The own-data format: one COCO JSON a split, with identities, cameras and queries added.

    images       [{id, file_name, width, height, cam_id?}]
    annotations  [{id, image_id, bbox [x, y, width, height], category_id, person_id?, iscrowd?}]
    categories   [{id, name}]                       exactly one, the person
    queries      [{id, image_id, bbox, person_id}]  optional; none in a training split
    galleries    {name: {query id: [image id, ...]}}  optional, fixed galleries

Boxes in the file are absolute float pixels from the image's top left corner, so that a box over a
whole image is [0, 0, width, height]. A `person_id` of -1, or none, means that the identity is not
known. Crowd regions (`iscrowd` 1) are no single person and are left out. `datasets/README.md` shows
a complete file.
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
    is_id,
    is_integer,
    is_size,
    read_document,
    show,
)
from clsa_search.data.galleries import FULL_PROTOCOLS, Gallery, build_gallery
from clsa_search.data.records import Columns, build_records
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED

PERSON_CATEGORY = {"id": 1, "name": "person"}
_LARGEST_ID = 2**63


def load_custom_json(
    json_file: str | os.PathLike, image_root: str | os.PathLike | None = None
) -> list[dict]:
    """Read one split into Detectron2's records, one an image, in the file's order.

    Args:
        json_file: the split.
        image_root: folder that the file names are relative to; the JSON's own folder by default.

    Returns:
        Dicts with `file_name`, `image_id` (str), `height`, `width`, `cam_id` (only where known) and

        - `annotations`: `bbox` [x0, y0, x1, y1] in absolute pixels, corners clipped to the image,
          `bbox_mode`, `category_id` 0, `person_id` contiguous from 0 in the order of the file's ids
          (those of annotations and queries together), or UNLABELED;
        - `queries` (only where the image carries some): `query_id` = position in the file's list of
          queries, `bbox` and `person_id` as above.

    Raises:
        InputError: there is no such file, or it is not in the format; names file, entry, field,
            value and what would be right.
    """
    path = Path(json_file)
    return _build_records(read_document(path), path, Path(image_root or path.parent))


def load_custom_galleries(json_file: str | os.PathLike) -> dict[str, Callable[[], Gallery]]:
    """The fixed galleries of a split by name; of queries that a gallery does not list, none.

    Raises:
        InputError: as `load_custom_json`.
    """
    path = Path(json_file)
    document = read_document(path)
    positions = {entry_id: i for i, entry_id in enumerate(_ids(document, "images", path))}
    queries = {str(query_id): i for i, query_id in enumerate(_ids(document, "queries", path))}
    _check_galleries(document, path, positions)
    return {
        name: partial(
            build_gallery,
            {queries[key]: [positions[i] for i in images] for key, images in gallery.items()},
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
    """Write one split, checked as it would be when read, and atomically.

    The entries are those of the format. What COCO tools want besides is filled in where absent: ids
    (of annotations from 1, because pycocotools takes an id of 0 for "no match"; of queries from 0),
    `category_id`, `area` and `iscrowd`. NumPy numbers are written as plain ones.

    Raises:
        InputError: an entry is not in the format; nothing is written.
    """
    path = Path(path)
    document = {
        "info": info or {},
        "images": list(images),
        "annotations": [_fill_annotation(i, entry) for i, entry in enumerate(annotations, start=1)],
        "categories": [PERSON_CATEGORY],
    }
    if queries:
        document["queries"] = [{"id": i} | entry for i, entry in enumerate(queries)]
    if galleries:
        document["galleries"] = galleries
    text = json.dumps(document, default=_to_plain)
    _build_records(json.loads(text), path, path.parent)
    with replace_file(path) as file:
        file.write(text.encode())


def _ids(document: dict, section: str, path: Path) -> list:
    return Section(document, section, path, required=section == "images").unique_ids()


def _fill_annotation(annotation_id: int, entry: dict) -> dict:
    fields = {"id": annotation_id, "category_id": PERSON_CATEGORY["id"], "iscrowd": 0} | entry
    if is_box(box := _to_plain(fields.get("bbox"))):
        fields.setdefault("area", box[2] * box[3])
    return fields


def _to_plain(value: Any) -> Any:
    """A NumPy number or array as Python's own; anything else as it is."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _build_records(document: dict, path: Path, image_root: Path) -> list[dict]:
    images = Section(document, "images", path)
    image_ids = images.unique_ids()
    positions = {image_id: i for i, image_id in enumerate(image_ids)}
    names = images.column("file_name", lambda v: isinstance(v, str) and v != "", "the image's file")
    widths = images.column("width", is_size, "the image's width in pixels, an integer above 0")
    heights = images.column("height", is_size, "the image's height in pixels, an integer above 0")
    cameras = images.column(
        "cam_id",
        lambda v: is_integer(v) and abs(v) < _LARGEST_ID,
        "an integer of 64 bits, or no such field",
        default=None,
    )
    sizes = np.array([widths, heights], dtype=np.int64).T.reshape(-1, 2)
    box_images, boxes, person_ids = _read_annotations(document, path, positions, sizes)
    query_images, query_boxes, query_person_ids = _read_queries(document, path, positions, sizes)
    columns = Columns(
        image_ids=image_ids,
        file_names=names,
        sizes=sizes,
        box_images=box_images,
        boxes=boxes,
        person_ids=person_ids,
        query_images=query_images,
        query_boxes=query_boxes,
        query_person_ids=query_person_ids,
        cam_ids=cameras,
    )
    _check_galleries(document, path, positions)
    return build_records(columns, image_root)


def _read_annotations(
    document: dict, path: Path, positions: dict, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image position, XYXY box, raw identity or UNLABELED of every person; crowds left out."""
    categories = Section(document, "categories", path)
    if len(categories.entries) != 1:
        raise InputError(
            f"{path}: 'categories' has {len(categories.entries)} entries; expected one, the person"
        )
    (category,) = categories.unique_ids()
    section = Section(document, "annotations", path)
    section.unique_ids()
    section.column("category_id", lambda v: v == category, f"{category!r}, the one in 'categories'")
    crowds = section.column("iscrowd", lambda v: v in (0, 1), "0 or 1", default=0)
    persons = section.column(
        "person_id",
        lambda v: is_integer(v) and UNLABELED <= v < _LARGEST_ID,
        "an integer, at least 0, or -1 (or no such field) for an unknown identity",
        default=UNLABELED,
    )
    images = np.array(section.image_positions(positions), dtype=np.int64)
    single = np.array(crowds, dtype=np.int64) == 0
    boxes = section.boxes(sizes[images])
    return images[single], boxes[single], np.array(persons, dtype=np.int64)[single]


def _read_queries(
    document: dict, path: Path, positions: dict, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image position, XYXY box, raw identity of every query."""
    section = Section(document, "queries", path, required=False)
    section.unique_ids()
    persons = section.column(
        "person_id",
        lambda v: is_integer(v) and 0 <= v < _LARGEST_ID,
        "the person to find, an integer at least 0",
    )
    images = np.array(section.image_positions(positions), dtype=np.int64)
    return images, section.boxes(sizes[images]), np.array(persons, dtype=np.int64)


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
