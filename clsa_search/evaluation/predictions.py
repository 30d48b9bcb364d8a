"""What a model found in a dataset: detections of all images, embeddings of all queries.

Shape letters: N images, M detections, Q queries, D width of a embedding.
"""

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from clsa_search.errors import InputError

BOX_TOLERANCE = 1.0  # pixels between a described box and the dataset's: rounding, a cut border


class ImagePredictions(NamedTuple):
    """One image's share: detections (m of them) and the queries drawn on it (q), float32 arrays."""

    boxes: np.ndarray  # (m, 4) XYXY pixels of the original image
    scores: np.ndarray  # (m,)
    features: np.ndarray  # (m, D) unit rows
    query_ids: np.ndarray  # (q,) int64
    query_boxes: np.ndarray  # (q, 4)
    query_embeddings: np.ndarray  # (q, D)


@dataclass(frozen=True)
class Predictions:
    """Detections and queries of a dataset; the detections of image i are offsets[i]:offsets[i+1].

    Boxes are absolute XYXY pixels of the original image, embeddings have unit rows. The fields
    are those of the predictions file (`save_predictions`).
    """

    image_ids: np.ndarray  # (N,) str
    offsets: np.ndarray  # (N+1,) int64
    boxes: np.ndarray  # (M, 4) float32
    scores: np.ndarray  # (M,) float32
    features: np.ndarray  # (M, D) float32
    query_ids: np.ndarray  # (Q,) int64, positions in the dataset's list of queries
    query_embeddings: np.ndarray  # (Q, D) float32
    query_boxes: np.ndarray  # (Q, 4) float32
    query_image_ids: np.ndarray  # (Q,) str
    meta: dict[str, Any]  # dataset, config, weights' hash, date: whatever JSON can hold

    @classmethod
    def from_images(
        cls, images: Mapping[str, ImagePredictions], meta: dict[str, Any] | None = None
    ) -> "Predictions":
        """Join the images' shares: images sorted by id, queries by number, whatever came first."""
        ids = sorted(images)
        shares = [images[image_id] for image_id in ids]
        width = shares[0].features.shape[1] if shares else 0
        columns = zip(_empty_image(width), *shares, strict=True)
        joined = ImagePredictions(*map(np.concatenate, columns))
        order = np.argsort(joined.query_ids, kind="stable")
        query_image_ids = np.repeat(_text(ids), [len(share.query_ids) for share in shares])
        return cls(
            image_ids=_text(ids),
            offsets=np.cumsum([0] + [len(share.scores) for share in shares], dtype=np.int64),
            boxes=joined.boxes.astype(np.float32),
            scores=joined.scores.astype(np.float32),
            features=joined.features.astype(np.float32),
            query_ids=joined.query_ids[order].astype(np.int64),
            query_embeddings=joined.query_embeddings[order].astype(np.float32),
            query_boxes=joined.query_boxes[order].astype(np.float32),
            query_image_ids=query_image_ids[order],
            meta=dict(meta or {}),
        )

    def to_images(self) -> dict[str, ImagePredictions]:
        """The images' shares, by id; `from_images` joins them again."""
        shares = {}
        for image, image_id in enumerate(self.image_ids.tolist()):
            rows = slice(*self.offsets[image : image + 2])
            asked = self.query_image_ids == image_id
            shares[image_id] = ImagePredictions(
                boxes=self.boxes[rows],
                scores=self.scores[rows],
                features=self.features[rows],
                query_ids=self.query_ids[asked],
                query_boxes=self.query_boxes[asked],
                query_embeddings=self.query_embeddings[asked],
            )
        return shares

    def align(
        self, image_ids: np.ndarray, query_ids: np.ndarray, *, score_threshold: float
    ) -> "Predictions":
        """The same predictions in the given order of images and queries, others left out.

        Only detections with a score of at least `score_threshold` stay.

        Raises:
            InputError: a wanted image or query is not here.
        """
        images = _positions(self.image_ids, image_ids, "image_ids")
        queries = _positions(self.query_ids, query_ids, "query_ids")
        image, row = expand_ranges(self.offsets[images], np.diff(self.offsets)[images])
        keep = self.scores[row] >= score_threshold
        image, row = image[keep], row[keep]
        counts = np.bincount(image, minlength=len(images))
        return replace(
            self,
            image_ids=self.image_ids[images],
            offsets=np.concatenate([[0], np.cumsum(counts)]),
            boxes=self.boxes[row],
            scores=self.scores[row],
            features=self.features[row],
            query_ids=self.query_ids[queries],
            query_embeddings=self.query_embeddings[queries],
            query_boxes=self.query_boxes[queries],
            query_image_ids=self.query_image_ids[queries],
        )


def expand_ranges(starts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write out ranges: (owner, index), both (sum of counts,), index running from its start."""
    owner = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) - first[owner] + starts[owner]


def check_predictions(
    predictions: Predictions, records: Sequence[dict], source: str | os.PathLike = "predictions"
) -> None:
    """Make sure that predictions are of this dataset, all of it and nothing else.

    Args:
        predictions: well-formed ones, as loaded.
        records: the dataset's (`clsa_search.data`).
        source: named in the errors; the file's path, if it has one.

    Raises:
        InputError: an image or query is missing or unknown, or a query is on another image or at
            another place there.
    """
    queries = {
        query["query_id"]: (record["image_id"], query["bbox"])
        for record in records
        for query in record.get("queries", [])
    }
    _compare(source, "image_ids", predictions.image_ids, {r["image_id"] for r in records})
    _compare(source, "query_ids", predictions.query_ids, queries.keys())
    columns = predictions.query_ids, predictions.query_image_ids, predictions.query_boxes
    for query_id, image_id, box in zip(*(column.tolist() for column in columns), strict=True):
        image, bbox = queries[query_id]
        if image_id != image:
            raise InputError(
                f"{source}: query_image_ids: query {query_id} is on image {image_id!r}; "
                f"expected {image!r}, as in the dataset"
            )
        if not _are_near(box, bbox):
            raise InputError(
                f"{source}: query_boxes: query {query_id} is at {_round(box)}; "
                f"expected {_round(bbox)}, as in the dataset"
            )


def check_annotated(
    predictions: Predictions, records: Sequence[dict], source: str | os.PathLike = "predictions"
) -> None:
    """Make sure that the boxes are the annotated ones, each of them and no other.

    Args:
        predictions: of this dataset (`check_predictions`).
        records: the dataset's.
        source: named in the errors; the file's path, if it has one.

    Raises:
        InputError: they are not, so that their scores would be no upper bound.
    """
    annotated = {
        record["image_id"]: np.array([one["bbox"] for one in record["annotations"]]).reshape(-1, 4)
        for record in records
    }
    ends = zip(predictions.offsets, predictions.offsets[1:], strict=False)
    for image_id, (start, stop) in zip(predictions.image_ids.tolist(), ends, strict=True):
        boxes, people = predictions.boxes[start:stop], annotated[image_id]
        near = _are_near(boxes[:, None], people[None])
        for side, rows, reaches in (
            ("boxes: {} is nobody's", boxes, near.any(axis=1)),
            ("boxes: lack {}", people, near.any(axis=0)),
        ):
            if not reaches.all():
                box = _round(rows[np.argmin(reaches)])
                raise InputError(
                    f"{source}: {side.format(box)} on image {image_id!r}; "
                    "expected the annotated boxes, as --gt-boxes describes them"
                )


def _are_near(boxes: Any, others: Any) -> np.ndarray:
    """Whether boxes (..., 4) lie on others (..., 4)."""
    return (np.abs(np.asarray(boxes, dtype=np.float64) - others) <= BOX_TOLERANCE).all(axis=-1)


def _round(box: Any) -> list[float]:
    return np.asarray(box, dtype=np.float64).round(2).tolist()


def _compare(source: Any, field: str, given: np.ndarray, expected: Set) -> None:
    given = set(given.tolist())
    for fault, names in (("missing", expected - given), ("unknown", given - expected)):
        if names:
            raise InputError(
                f"{source}: {field}: {len(names)} {fault}, such as {min(names)!r}; "
                f"expected the dataset's {len(expected)}, all of them and no other"
            )


def _positions(names: np.ndarray, wanted: np.ndarray, field: str) -> np.ndarray:
    """Where each wanted name stands among unique names."""
    known = {name: place for place, name in enumerate(names.tolist())}
    for name in wanted.tolist():
        if name not in known:
            raise InputError(f"predictions: {field}: {name!r} is missing; expected an entry for it")
    return np.array([known[name] for name in wanted.tolist()], dtype=np.int64)


def _empty_image(width: int) -> ImagePredictions:
    """Nothing found and nobody asked for; gives arrays their shape where there are no images."""
    boxes, row, features = np.zeros((0, 4)), np.zeros(0), np.zeros((0, width))
    return ImagePredictions(boxes, row, features, row, boxes, features)


def _text(values: Sequence[str]) -> np.ndarray:
    return np.array(values, dtype=np.str_)  # text even when there are none
