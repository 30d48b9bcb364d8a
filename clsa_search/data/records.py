"""From a split in columns, as readers build it and the cache stores it, to Detectron2's records.

Shape letters: N images, A ground-truth boxes, Q queries.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from detectron2.structures import BoxMode

from clsa_search.data.cache import Arrays, load_cached
from clsa_search.data.labeled_boxes import LabeledBoxes
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED


@dataclass(frozen=True)
class Split:
    """A split of a dataset in columns, with the person ids of its files.

    Args:
        image_ids: N ids as in the file.
        file_names: N paths, relative to the folder of the images.
        sizes: (N, 2) int64 width and height in pixels.
        ground_truth: A boxes with person ids.
        queries: Q boxes with person ids; none in a training split.
        cam_ids: N camera ids, None if not known; None if no camera is known.
        published_boxes: (A, 4) float64 XYXY, the ground-truth boxes before clipping; None to
            forget them.
    """

    image_ids: Sequence[str | int]
    file_names: Sequence[str] | np.ndarray
    sizes: np.ndarray
    ground_truth: LabeledBoxes
    queries: LabeledBoxes
    cam_ids: Sequence[int | None] | np.ndarray | None = None
    published_boxes: np.ndarray | None = None


def clip_split(split: Split, *, query_file: Path | None, keep_published: bool = False) -> Split:
    """Clip all boxes to their images, and drop ground-truth boxes wholly outside.

    Args:
        split: a split whose boxes may reach out of their images.
        query_file: file of the queries, for messages; None without queries.
        keep_published: whether to keep the ground-truth boxes before clipping too.

    Raises:
        InputError: a query is wholly outside its image.
    """
    queries, boxes = split.queries, split.ground_truth.boxes
    clipped_queries = clip_boxes(queries.boxes, split.sizes[queries.images])
    for query in np.flatnonzero(~has_area(clipped_queries)):
        width, height = split.sizes[queries.images[query]]
        raise InputError(
            f"{query_file}: query {query}: the box (x0, y0, x1, y1) is "
            f"{queries.boxes[query].tolist()}; expected a box that meets its image "
            f"({width} x {height})"
        )
    clipped = clip_boxes(boxes, split.sizes[split.ground_truth.images])
    inside = has_area(clipped)
    return replace(
        split,
        ground_truth=replace(split.ground_truth, boxes=clipped)[inside],
        queries=replace(queries, boxes=clipped_queries),
        published_boxes=boxes[inside] if keep_published else None,
    )


def to_corners(boxes: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    """Return (A, 4) float64 XYXY boxes of (A, 4) XYWH boxes of any number type."""
    # float first: some published boxes are uint8, and their corners would overflow
    xywh = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return BoxMode.convert(xywh, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)


def clip_boxes(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Clip (A, 4) XYXY boxes to images of sizes (A, 2) width and height.

    A box wholly outside its image is left with a width or height of 0.
    """
    return np.clip(boxes, 0, np.tile(sizes, 2))


def has_area(boxes: np.ndarray) -> np.ndarray:
    """Return (A,) bool, True where an XYXY box has a width and a height above 0."""
    return np.all(boxes[:, 2:] > boxes[:, :2], axis=1)


def load_split(
    folder: Path, name: str, sources: Sequence[Path], build: Callable[[], Split]
) -> Split:
    """Return the split of `build`, from the cache if possible (see `load_cached`)."""
    arrays = load_cached(folder, name, sources, lambda: _to_arrays(build()))
    return Split(
        image_ids=arrays["image_ids"].tolist(),
        file_names=arrays["file_names"],
        sizes=arrays["sizes"],
        ground_truth=LabeledBoxes(arrays["box_images"], arrays["boxes"], arrays["person_ids"]),
        queries=LabeledBoxes(
            arrays["query_images"], arrays["query_boxes"], arrays["query_person_ids"]
        ),
        cam_ids=arrays.get("cam_ids"),
        published_boxes=arrays.get("published_boxes"),
    )


def _to_arrays(split: Split) -> Arrays:
    boxes, queries = split.ground_truth, split.queries
    columns = {
        "image_ids": split.image_ids,
        "file_names": split.file_names,
        "sizes": split.sizes,
        "box_images": boxes.images,
        "boxes": boxes.boxes,
        "person_ids": boxes.person_ids,
        "query_images": queries.images,
        "query_boxes": queries.boxes,
        "query_person_ids": queries.person_ids,
        "cam_ids": split.cam_ids,
        "published_boxes": split.published_boxes,
    }
    return {name: np.asarray(column) for name, column in columns.items() if column is not None}


def build_records(split: Split, image_root: str | os.PathLike) -> list[dict]:
    """Build the records described by `load_custom_json`.

    Args:
        split: a split with all boxes inside their images.
        image_root: folder of the images.
    """
    root = str(Path(image_root))
    images = zip(split.image_ids, split.file_names, split.sizes.tolist(), strict=True)
    records = [
        {
            "file_name": os.path.join(root, str(file_name)),
            "image_id": image_id,
            "height": height,
            "width": width,
            "annotations": [],
        }
        for image_id, file_name, (width, height) in images
    ]
    if split.cam_ids is not None:
        for record, camera in zip(records, split.cam_ids, strict=True):
            record.update({} if camera is None else {"cam_id": int(camera)})
    known = np.union1d(split.ground_truth.person_ids, split.queries.person_ids)
    known = known[known != UNLABELED]
    _add_annotations(records, split, known)
    _add_queries(records, split.queries, known)
    return records


def _add_annotations(records: list[dict], split: Split, known: np.ndarray) -> None:
    boxes = split.ground_truth
    bboxes = boxes.boxes.tolist()
    published = bboxes if split.published_boxes is None else split.published_boxes.tolist()
    columns = boxes.images.tolist(), bboxes, published, _number(boxes.person_ids, known)
    for image, bbox, published_bbox, person_id in zip(*columns, strict=True):
        annotation = {
            "bbox": bbox,
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": 0,
            "person_id": person_id,
        }
        # for comparisons with codebases that clip boxes in another way
        annotation.update({} if published_bbox == bbox else {"published_bbox": published_bbox})
        records[image]["annotations"].append(annotation)


def _add_queries(records: list[dict], queries: LabeledBoxes, known: np.ndarray) -> None:
    person_ids = _number(queries.person_ids, known)
    columns = zip(queries.images.tolist(), queries.boxes.tolist(), person_ids, strict=True)
    for query_id, (image, bbox, person_id) in enumerate(columns):
        query = {"query_id": query_id, "bbox": bbox, "person_id": person_id}
        records[image].setdefault("queries", []).append(query)


def _number(person_ids: np.ndarray, known: np.ndarray) -> list[int]:
    """Return person ids as positions in the sorted `known` ones; UNLABELED stays."""
    numbers = np.searchsorted(known, person_ids)
    return np.where(person_ids == UNLABELED, UNLABELED, numbers).tolist()
