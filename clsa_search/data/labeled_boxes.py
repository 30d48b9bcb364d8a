"""Boxes with person ids in columns: the ground truth or the queries of all images of a split.

Shape letters: A boxes over all images.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabeledBoxes:
    """Boxes with their images and person ids.

    Args:
        images: (A,) int64 record number of each box.
        boxes: (A, 4) float64 XYXY in pixels of the image.
        person_ids: (A,) int64, UNLABELED if the identity is not known.
    """

    images: np.ndarray
    boxes: np.ndarray
    person_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: np.ndarray) -> "LabeledBoxes":
        return LabeledBoxes(self.images[index], self.boxes[index], self.person_ids[index])

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, Sequence[float], int]]) -> "LabeledBoxes":
        """Build from (record number, box, person id) of each box."""
        rows = list(rows)
        return cls(
            images=np.array([image for image, _, _ in rows], dtype=np.int64),
            boxes=np.array([box for _, box, _ in rows], dtype=np.float64).reshape(-1, 4),
            person_ids=np.array([person_id for _, _, person_id in rows], dtype=np.int64),
        )

    @classmethod
    def from_annotations(cls, records: Sequence[dict]) -> "LabeledBoxes":
        """Collect the ground-truth boxes of records, in their order."""
        return cls.from_rows(
            (image, annotation["bbox"], annotation["person_id"])
            for image, record in enumerate(records)
            for annotation in record["annotations"]
        )

    @classmethod
    def from_queries(cls, records: Sequence[dict]) -> "LabeledBoxes":
        """Collect the queries of records, by query id: row q is query q."""
        queries = sorted(
            (query["query_id"], image, query["bbox"], query["person_id"])
            for image, record in enumerate(records)
            for query in record.get("queries", [])
        )
        return cls.from_rows(query[1:] for query in queries)
