"""From columns, as every reader fills them and the cache keeps them, to Detectron2's records.

Shape letters: N images, A annotated people, Q queries.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from detectron2.structures import BoxMode

from clsa_search.data.cache import load_cached
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED


@dataclass(frozen=True)
class Columns:
    """A split. Boxes are XYXY pixels, inside their image; person ids are those of the source."""

    image_ids: Sequence[str | int]  # N of them
    file_names: Sequence[str]  # N, relative to the folder of the images
    sizes: np.ndarray  # (N, 2) int64, width and height
    box_images: np.ndarray  # (A,) int64, positions in the images
    boxes: np.ndarray  # (A, 4) float64
    person_ids: np.ndarray  # (A,) int64, UNLABELED where not known
    query_images: np.ndarray  # (Q,) int64
    query_boxes: np.ndarray  # (Q, 4) float64
    query_person_ids: np.ndarray  # (Q,) int64
    cam_ids: Sequence[int | None] | None = None  # N of them
    published_boxes: np.ndarray | None = None  # (A, 4) float64, before they were clipped


class People(NamedTuple):
    """Who is where, as published: boxes may reach out of their image."""

    images: np.ndarray  # (n,) int64, positions in the images
    boxes: np.ndarray  # (n, 4) of [x, y, width, height]
    person_ids: np.ndarray  # (n,) int64


def fill_columns(
    people: People,
    queries: People,
    *,
    sizes: np.ndarray,
    query_file: Path | None,
    keep_published: bool = False,
    **image_columns: Any,
) -> Columns:
    """The columns of a split, its boxes clipped; annotated ones wholly outside are left out.

    Args:
        people: the annotated ones.
        queries: none of a training split.
        sizes: (N, 2), width and height of the images.
        query_file: where the queries are from, for errors; None where there are none.
        keep_published: whether to keep the boxes as they were too.
        image_columns: the other columns of the images.

    Raises:
        InputError: a query is wholly outside its image.
    """
    boxes = to_corners(people.boxes, sizes[people.images])
    inside = meets_image(boxes)
    query_boxes = to_corners(queries.boxes, sizes[queries.images])
    for query in np.flatnonzero(~meets_image(query_boxes)):
        width, height = sizes[queries.images[query]]
        raise InputError(
            f"{query_file}: query {query}: x, y, width, height are {queries.boxes[query].tolist()};"
            f" expected a box that meets its image ({width} x {height})"
        )
    return Columns(
        sizes=sizes,
        box_images=people.images[inside],
        boxes=boxes[inside],
        person_ids=people.person_ids[inside],
        query_images=queries.images,
        query_boxes=query_boxes,
        query_person_ids=queries.person_ids,
        published_boxes=add_size(people.boxes)[inside] if keep_published else None,
        **image_columns,
    )


def load_columns(
    folder: Path, name: str, sources: Sequence[Path], build: Callable[[], Columns]
) -> Columns:
    """What `build` returns, from the cache where there is one (see `load_cached`)."""

    def build_arrays() -> dict[str, np.ndarray]:
        return {k: np.asarray(v) for k, v in vars(build()).items() if v is not None}

    return Columns(**load_cached(folder, name, sources, build_arrays))


def to_corners(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Corners (A, 4) XYXY float64 of boxes (A, 4) [x, y, width, height], clipped to their images.

    The parts outside images of sizes (A, 2) [width, height] are cut off; nothing is left of a box
    wholly outside, whose width or height then is 0 or less.
    """
    # clipped after adding the size: clipping x and y first would move the far corner
    return np.clip(add_size(boxes), 0, np.tile(sizes, 2))


def add_size(boxes: np.ndarray) -> np.ndarray:
    """Corners (A, 4) XYXY float64 of boxes (A, 4) [x, y, width, height], wherever they lie."""
    corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)  # published boxes may be uint8
    corners[:, 2:] += corners[:, :2]
    return corners


def meets_image(corners: np.ndarray) -> np.ndarray:
    """(A,) bool: whether anything is left of the boxes that `to_corners` returns."""
    return (corners[:, 2:] > corners[:, :2]).all(axis=1)


def build_records(columns: Columns, image_root: str | os.PathLike) -> list[dict]:
    """The records that `load_custom_json` describes; person ids contiguous from 0, in their order.

    Args:
        columns: the split.
        image_root: what the file names are relative to.
    """
    root = str(Path(image_root))
    fields = zip(columns.image_ids, columns.file_names, columns.sizes.tolist(), strict=True)
    records = [
        {
            "file_name": os.path.join(root, str(file_name)),
            "image_id": str(image_id),
            "height": height,
            "width": width,
            "annotations": [],
        }
        for image_id, file_name, (width, height) in fields
    ]
    if columns.cam_ids is not None:
        for record, camera in zip(records, columns.cam_ids, strict=True):
            record.update({} if camera is None else {"cam_id": int(camera)})
    _add_people(records, columns)
    return records


def _add_people(records: list[dict], columns: Columns) -> None:
    known = np.unique(np.concatenate([columns.person_ids, columns.query_person_ids]))
    known = known[known != UNLABELED]

    def relabel(ids: np.ndarray) -> list[int]:
        return np.where(ids == UNLABELED, UNLABELED, np.searchsorted(known, ids)).tolist()

    boxes = columns.boxes.tolist()
    published = boxes if columns.published_boxes is None else columns.published_boxes.tolist()
    people = (columns.box_images.tolist(), boxes, published, relabel(columns.person_ids))
    for image, bbox, whole, person_id in zip(*people, strict=True):
        person = {
            "bbox": bbox,
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": 0,
            "person_id": person_id,
        }
        # for those who compare with codes that cut boxes in another way
        person.update({} if whole == bbox else {"published_bbox": whole})
        records[image]["annotations"].append(person)
    persons = relabel(columns.query_person_ids)
    queries = zip(columns.query_images.tolist(), columns.query_boxes.tolist(), persons, strict=True)
    for query_id, (image, bbox, person_id) in enumerate(queries):
        query = {"query_id": query_id, "bbox": bbox, "person_id": person_id}
        records[image].setdefault("queries", []).append(query)
