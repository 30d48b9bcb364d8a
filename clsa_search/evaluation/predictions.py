"""Predictions of a dataset: detections of all images and embeddings of all queries.

Shape letters: N images, M detections, G ground-truth boxes, Q queries, D embedding width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clsa_search.errors import InputError
from clsa_search.structures import ImageDetections, Queries, Ragged


@dataclass(frozen=True)
class ImagePredictions:
    """Predictions of one image.

    Args:
        detections: detections of the image.
        queries: queries on the image.
        ground_truth: ground-truth boxes with their embeddings and scores of 1, for the upper bound
            of the re-ID; None if they were not embedded.
    """

    detections: ImageDetections
    queries: Queries
    ground_truth: ImageDetections | None = None


@dataclass(frozen=True)
class Predictions:
    """Predictions of all images of a dataset, as in a predictions file.

    Args:
        image_ids: (N,) str.
        detections: N rows, (M,) detections.
        queries: (Q,) queries; their ids are positions in the dataset's list of queries.
        meta: dataset, config, checksum of the weights, date; JSON values.
        ground_truth: N rows, (G,) ground-truth boxes with scores of 1; None if they were not
            embedded.
    """

    image_ids: np.ndarray
    detections: Ragged[ImageDetections]
    queries: Queries
    meta: dict[str, Any]
    ground_truth: Ragged[ImageDetections] | None = None

    @classmethod
    def from_images(
        cls, images: Mapping[str, ImagePredictions], meta: Mapping[str, Any] | None = None
    ) -> "Predictions":
        """Join the predictions of single images, sorted by image id; queries are sorted by id.

        Args:
            images: predictions by image id, in any order; all with ground truth, or none.
            meta: see the class.
        """
        image_ids = sorted(images)
        rows = [images[image_id] for image_id in image_ids]
        truths = [row.ground_truth for row in rows if row.ground_truth is not None]
        return cls(
            image_ids=_text(image_ids),
            detections=_join_detections([row.detections for row in rows]),
            queries=_join_queries(image_ids, [row.queries for row in rows]),
            meta=dict(meta or {}),
            ground_truth=_join_detections(truths) if truths else None,
        )

    def to_images(self) -> dict[str, ImagePredictions]:
        """Return the predictions of single images by image id, the inverse of `from_images`."""
        return {
            image_id: ImagePredictions(
                detections=self.detections.row(row),
                queries=self.queries[self.queries.image_ids == image_id],
                ground_truth=None if self.ground_truth is None else self.ground_truth.row(row),
            )
            for row, image_id in enumerate(self.image_ids.tolist())
        }

    def use_ground_truth(self) -> "Predictions":
        """Return the predictions of a perfect detector: ground-truth boxes as detections.

        Raises:
            InputError: the predictions hold no ground truth.
        """
        if self.ground_truth is None:
            raise InputError("predictions: no ground truth; expected gt_boxes and gt_embeddings")
        return replace(self, detections=self.ground_truth, ground_truth=None)

    def replace_embeddings(self, detections: np.ndarray, queries: np.ndarray) -> "Predictions":
        """Return the same boxes with other embeddings, without ground truth.

        Args:
            detections: (M, D') float32 embeddings of the detections.
            queries: (Q, D') float32 embeddings of the queries.
        """
        values = replace(self.detections.values, embeddings=detections)
        return replace(
            self,
            detections=replace(self.detections, values=values),
            queries=replace(self.queries, embeddings=queries),
            ground_truth=None,
        )

    def align(
        self, image_ids: np.ndarray, query_ids: np.ndarray, *, score_threshold: float
    ) -> "Predictions":
        """Return some images and queries in a given order, without ground truth.

        Args:
            image_ids: (N',) str, the images to keep.
            query_ids: (Q',) int64, the queries to keep.
            score_threshold: detections with a lower score are dropped.

        Raises:
            InputError: an image or a query is missing.
        """
        rows = _find_positions(self.image_ids, image_ids, "image_ids")
        queries = _find_positions(self.queries.ids, query_ids, "query_ids")
        row, detection = self.detections.expand(rows)
        keep = self.detections.values.scores[detection] >= score_threshold
        return replace(
            self,
            image_ids=self.image_ids[rows],
            detections=Ragged.from_lengths(
                self.detections.values[detection[keep]],
                np.bincount(row[keep], minlength=len(rows)),
            ),
            queries=self.queries[queries],
            ground_truth=None,
        )


def _join_detections(rows: Sequence[ImageDetections]) -> Ragged[ImageDetections]:
    width = rows[0].embeddings.shape[1] if rows else 0
    joined = ImageDetections.concatenate([ImageDetections.empty(width), *rows])
    values = ImageDetections(
        boxes=joined.boxes.astype(np.float32, copy=False),
        scores=joined.scores.astype(np.float32, copy=False),
        embeddings=joined.embeddings.astype(np.float32, copy=False),
    )
    return Ragged.from_lengths(values, [len(row) for row in rows])


def _join_queries(image_ids: Sequence[str], rows: Sequence[Queries]) -> Queries:
    """Join the queries of each image, sorted by id; the image ids are the given ones."""
    width = rows[0].embeddings.shape[1] if rows else 0
    joined = Queries(
        ids=np.concatenate([np.zeros(0, np.int64), *(row.ids for row in rows)]).astype(np.int64),
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *(row.boxes for row in rows)]),
        embeddings=np.concatenate(
            [np.zeros((0, width), np.float32), *(row.embeddings for row in rows)]
        ),
        image_ids=np.repeat(_text(image_ids), [len(row) for row in rows]),
    )
    ordered = joined[np.argsort(joined.ids, kind="stable")]
    return replace(
        ordered,
        boxes=ordered.boxes.astype(np.float32, copy=False),
        embeddings=ordered.embeddings.astype(np.float32, copy=False),
    )


def _find_positions(names: np.ndarray, wanted: np.ndarray, field: str) -> np.ndarray:
    """Return the position of each wanted name among unique names."""
    known = {name: position for position, name in enumerate(names.tolist())}
    for name in wanted.tolist():
        if name not in known:
            raise InputError(f"predictions: {field}: {name!r} is missing; expected an entry for it")
    return np.array([known[name] for name in wanted.tolist()], dtype=np.int64)


def _text(values: Sequence[str]) -> np.ndarray:
    return np.array(values, dtype=np.str_)  # str even without values
