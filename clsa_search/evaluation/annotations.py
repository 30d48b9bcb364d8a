"""Annotations and queries of a dataset's records as arrays.

Shape letters: A ground-truth boxes, Q queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Annotations:
    """Ground-truth boxes of all records, in the order of the records.

    Args:
        images: (A,) int64 positions in the records.
        boxes: (A, 4) float64 XYXY in pixels of the original image.
        person_ids: (A,) int64, UNLABELED for an unknown identity.
    """

    images: np.ndarray
    boxes: np.ndarray
    person_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def flatten_annotations(records: Sequence[dict]) -> Annotations:
    """Return the annotations of records as arrays."""
    rows = [
        (image, annotation["bbox"], annotation["person_id"])
        for image, record in enumerate(records)
        for annotation in record["annotations"]
    ]
    images, boxes, person_ids = zip(*rows, strict=True) if rows else ((), (), ())
    return Annotations(
        images=np.array(images, dtype=np.int64),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        person_ids=np.array(person_ids, dtype=np.int64),
    )


def flatten_queries(records: Sequence[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (Q,) query ids in ascending order, (Q,) positions of their images, (Q,) person ids."""
    queries = sorted(
        (query["query_id"], image, query["person_id"])
        for image, record in enumerate(records)
        for query in record.get("queries", [])
    )
    ids, images, person_ids = np.array(queries, dtype=np.int64).reshape(-1, 3).T
    return ids, images, person_ids


def query_boxes(records: Sequence[dict]) -> dict[int, list[float]]:
    """Return the XYXY box of each query id."""
    return {
        query["query_id"]: query["bbox"]
        for record in records
        for query in record.get("queries", [])
    }
