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
from detectron2.structures import BoxMode

from clsa_search.data.galleries import FULL_PROTOCOLS, Gallery, build_gallery
from clsa_search.data.json_section import Section, is_box, is_id, is_integer, is_size, show
from clsa_search.errors import InputError

UNLABELLED = -1
PERSON_CATEGORY = {"id": 1, "name": "person"}


def load_search_json(
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
          (those of annotations and queries together), or UNLABELLED;
        - `queries` (only where the image carries some): `query_id` = position in the file's list of
          queries, `bbox` and `person_id` as above.

    Raises:
        InputError: there is no such file, or it is not in the format; names file, entry, field,
            value and what would be right.
    """
    path = Path(json_file)
    return _build_records(_read(path), path, Path(image_root or path.parent))


def load_search_galleries(json_file: str | os.PathLike) -> dict[str, Callable[[], Gallery]]:
    """The fixed galleries of a split by name; of queries that a gallery does not list, none.

    Raises:
        InputError: as `load_search_json`.
    """
    path = Path(json_file)
    document = _read(path)
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


def save_search_json(
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
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path) -> dict:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: not a readable dataset file: {error.strerror}") from error
    except ValueError as error:  # JSONDecodeError or UnicodeDecodeError
        raise InputError(f"{path}: not a readable JSON file: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: holds {show(document)}; expected an object with 'images'")
    return document


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
    positions = {image_id: i for i, image_id in enumerate(images.unique_ids())}
    records = _build_images(images, image_root)
    sizes = np.array([(r["width"], r["height"]) for r in records], dtype=np.int64).reshape(-1, 2)

    people = _read_annotations(document, path, positions, sizes)
    queries = _read_queries(document, path, positions, sizes)
    raw_ids = {person_id for _, _, person_id in people + queries} - {UNLABELLED}
    labels = {raw: label for label, raw in enumerate(sorted(raw_ids))} | {UNLABELLED: UNLABELLED}

    for image, bbox, raw_id in people:
        records[image]["annotations"].append(
            {
                "bbox": bbox,
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "person_id": labels[raw_id],
            }
        )
    for query_id, (image, bbox, raw_id) in enumerate(queries):
        query = {"query_id": query_id, "bbox": bbox, "person_id": labels[raw_id]}
        records[image].setdefault("queries", []).append(query)
    _check_galleries(document, path, positions)
    return records


def _build_images(images: Section, image_root: Path) -> list[dict]:
    names = images.column("file_name", lambda v: isinstance(v, str) and v != "", "the image's file")
    widths = images.column("width", is_size, "the image's width in pixels, an integer above 0")
    heights = images.column("height", is_size, "the image's height in pixels, an integer above 0")
    cameras = images.column("cam_id", is_integer, "an integer, or no such field", default=None)
    root = str(image_root)
    records = []
    for entry, name, width, height, camera in zip(
        images.entries, names, widths, heights, cameras, strict=True
    ):
        record = {
            "file_name": os.path.join(root, name),
            "image_id": str(entry["id"]),
            "height": height,
            "width": width,
        }
        if camera is not None:
            record["cam_id"] = camera
        records.append(record | {"annotations": []})
    return records


def _read_annotations(
    document: dict, path: Path, positions: dict, sizes: np.ndarray
) -> list[tuple[int, list[float], int]]:
    """(image position, XYXY box, raw identity or UNLABELLED) of every person; crowds left out."""
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
        lambda v: is_integer(v) and v >= UNLABELLED,
        "an integer, at least 0, or -1 (or no such field) for an unknown identity",
        default=UNLABELLED,
    )
    images = section.image_positions(positions)
    boxes = section.boxes(sizes[images]).tolist()
    rows = zip(images, boxes, persons, crowds, strict=True)
    return [(image, box, person) for image, box, person, crowd in rows if not crowd]


def _read_queries(
    document: dict, path: Path, positions: dict, sizes: np.ndarray
) -> list[tuple[int, list[float], int]]:
    """(image position, XYXY box, raw identity) of every query."""
    section = Section(document, "queries", path, required=False)
    section.unique_ids()
    persons = section.column(
        "person_id",
        lambda v: is_integer(v) and v >= 0,
        "the person to find, an integer at least 0",
    )
    images = section.image_positions(positions)
    return list(zip(images, section.boxes(sizes[images]).tolist(), persons, strict=True))


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
