"""How well people are detected and found, with the semantics of OIM, NAE, SeqNet, COAT and GFN.

**Search.** For a query, keep the detections of its gallery with a score of at least the threshold;
their similarity is the dot product of their descriptor with the query's. In each gallery image that
holds the person, *the* positive is the most similar detection that lies on the person's box, with
IoU >= min(0.5, w*h / ((w + 10) * (h + 10))) for a box of w x h. Every other detection of every
gallery image is a negative. Average precision is scikit-learn's, step by step over the detections,
times the recall: positives found / gallery images that hold the person. Top-k is 1 if a positive is
among the k most similar. mAP and top-k are means over all queries.

**Detection.** A detection and an annotated box match if their IoU is at least the threshold and
each is the other's best in its image. Recall is matches / annotated boxes. AP is scikit-learn's
over the detections by their score, times the recall.

Where that leaves a choice:

- Ties. Detections that are equally similar enter together, as in scikit-learn: each has the
  precision after the last of them. For top-k a positive stands behind the negatives that equal it.
  So no search metric depends on the order of images or of detections. Of equal IoUs, a detection
  takes the box annotated first, a box the detection of higher score and then the first.
- An image with the person's identity on two boxes holds the person once: its positive is the most
  similar detection on either box, the others are negatives.
- An image that a gallery lists twice counts twice: its detections, and the person in it.
- The query's own image is in the gallery if, and only if, the protocol lists it.
- A query whose person is nowhere in its gallery has average precision 0 and stays in the mean.
- Without queries the search metrics are NaN, without annotated boxes those of detection; without
  detections all are 0.
- `labelled_only` leaves out unlabelled people and images without a labelled one. A detection of an
  unlabelled person in another image counts as false, so look at the recall, not at the AP.

Shape letters: Q queries.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from clsa_search.data.search_json import UNLABELLED
from clsa_search.evaluation.matching import is_best, match_one_to_one, pair_boxes
from clsa_search.evaluation.predictions import Predictions, expand_ranges
from clsa_search.evaluation.protocol import SearchProtocol, flatten_people
from clsa_search.evaluation.ranking import (
    Candidates,
    average_precision,
    count_at_least,
    find_candidates,
    rank_queries,
)

TOP_K = (1, 5, 10)
_CHANCE_WIDTH = 16  # of the random descriptors; any width ranks at random


@dataclass(frozen=True)
class SearchResult:
    """What each query (Q) found. `metrics` and `per_query` give it as numbers for people."""

    protocol: str
    query_ids: np.ndarray  # (Q,) int64
    average_precision: np.ndarray  # (Q,) float64 in [0, 1], recall included
    first_rank: np.ndarray  # (Q,) int64 of the best positive from 1, ties as above; 0: none
    targets: np.ndarray  # (Q,) int64, gallery images that hold the person
    found: np.ndarray  # (Q,) int64, those of them with a positive

    def metrics(self, top_k: Sequence[int] = TOP_K) -> dict[str, float]:
        """Means over the queries in percent: mAP, top<k>; NaN without queries."""
        values = {"mAP": self.average_precision}
        for k in top_k:
            values[f"top{k}"] = (self.first_rank > 0) & (self.first_rank <= k)
        return {name: _percent(value.sum(), len(value)) for name, value in values.items()}

    def per_query(self) -> list[dict[str, float]]:
        """One dict a query, for JSON: the fields above, `query_ids` as `query_id`."""
        columns = {
            "query_id": self.query_ids,
            "average_precision": self.average_precision,
            "first_rank": self.first_rank,
            "targets": self.targets,
            "found": self.found,
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]


class Match(NamedTuple):
    """A detection in a query's ranking."""

    image_id: str
    box: np.ndarray  # (4,) float32 XYXY pixels of the original image
    similarity: float
    correct: bool


def evaluate_search(
    predictions: Predictions,
    protocol: SearchProtocol,
    *,
    score_threshold: float = 0.5,
    device: torch.device | str | None = None,
) -> SearchResult:
    """Rank every query's gallery and compare with its targets.

    Args:
        predictions: of every image and query that the protocol names; others are left out.
        protocol: the queries, their galleries and targets.
        score_threshold: detections below do not exist.
        device: where to compute; by default a GPU if there is one.

    Raises:
        InputError: an image or a query of the protocol is missing.
    """
    aligned = _align(predictions, protocol, score_threshold)
    return _search(aligned, protocol, find_candidates(aligned, protocol), device)


def evaluate_chance(
    predictions: Predictions,
    protocol: SearchProtocol,
    *,
    score_threshold: float = 0.5,
    seeds: Iterable[int] = range(5),
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """The metrics of the same detections with random descriptors, mean over the seeds.

    Arguments and errors are those of `evaluate_search`.
    """
    aligned = _align(predictions, protocol, score_threshold)
    candidates = find_candidates(aligned, protocol)
    results = [
        _search(_scramble(aligned, seed), protocol, candidates, device).metrics() for seed in seeds
    ]
    return {name: float(np.mean([result[name] for result in results])) for name in results[0]}


def rank_gallery(
    predictions: Predictions,
    protocol: SearchProtocol,
    query_id: int,
    top: int = 10,
    *,
    score_threshold: float = 0.5,
) -> list[Match]:
    """The `top` most similar detections of one query's gallery, best first.

    Equally similar ones stay in the order of the gallery's images and of their detections.

    Raises:
        InputError: the protocol has no such query, or the predictions lack it or an image.
    """
    protocol = protocol.select([query_id])
    aligned = _align(predictions, protocol, score_threshold)
    similarities = aligned.features @ aligned.query_features[0]
    candidates = find_candidates(aligned, protocol)
    best = is_best(candidates.place, -similarities[candidates.detection], candidates.detection)
    positives = candidates.detection[best]
    gallery = protocol.gallery_images
    listing, rows = expand_ranges(aligned.offsets[gallery], np.diff(aligned.offsets)[gallery])
    order = np.argsort(-similarities[rows], kind="stable")[:top]
    return [
        Match(
            image_id=image_id,
            box=aligned.boxes[row],
            similarity=float(similarities[row]),
            correct=bool(np.isin(row, positives)),
        )
        for image_id, row in zip(
            aligned.image_ids[gallery[listing[order]]].tolist(), rows[order], strict=True
        )
    ]


def evaluate_detection(
    predictions: Predictions,
    records: Sequence[dict],
    *,
    score_threshold: float = 0.5,
    iou_threshold: float = 0.5,
    labelled_only: bool = False,
) -> dict[str, float]:
    """Recall and AP of the detections in percent, as {"recall": ..., "AP": ...}.

    Args:
        predictions: of every image of the records; others are left out.
        records: the dataset's (`clsa_search.data`).
        score_threshold: detections below do not exist.
        iou_threshold: of a match.
        labelled_only: leave out people whose identity is not known (see above).

    Raises:
        InputError: an image of the records is missing.
    """
    if labelled_only:
        records = [kept for record in records if (kept := _labelled(record))["annotations"]]
    image_ids = np.array([record["image_id"] for record in records], dtype=np.str_)
    aligned = predictions.align(
        image_ids, predictions.query_ids[:0], score_threshold=score_threshold
    )
    people = flatten_people(records)
    box, detection, iou = pair_boxes(people.images, people.boxes, aligned.offsets, aligned.boxes)
    hits = match_one_to_one(box, detection, iou, aligned.scores) & (iou >= iou_threshold)
    scores = torch.from_numpy(aligned.scores)[None]
    found = scores[:, detection[hits]].sort(dim=1).values
    precision = average_precision(
        found,
        torch.ones_like(found, dtype=torch.int64),
        count_at_least(scores, found),
        torch.tensor([len(people.boxes)]),
    )
    return {
        "recall": _percent(hits.sum(), len(people.boxes)),
        "AP": _percent(precision.item(), min(len(people.boxes), 1)),
    }


def _align(predictions: Predictions, protocol: SearchProtocol, threshold: float) -> Predictions:
    return predictions.align(protocol.image_ids, protocol.query_ids, score_threshold=threshold)


def _search(
    aligned: Predictions,
    protocol: SearchProtocol,
    candidates: Candidates,
    device: torch.device | str | None,
) -> SearchResult:
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    ranks = rank_queries(aligned, protocol, candidates, torch.device(device))
    return SearchResult(protocol.name, protocol.query_ids, *ranks)


def _scramble(aligned: Predictions, seed: int) -> Predictions:
    """The predictions with random unit descriptors."""
    generator = np.random.default_rng(seed)

    def draw(count: int) -> np.ndarray:
        rows = generator.standard_normal((count, _CHANCE_WIDTH), dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    queries, detections = draw(len(aligned.query_ids)), draw(len(aligned.scores))
    return replace(aligned, query_features=queries, features=detections)


def _labelled(record: dict) -> dict:
    people = record["annotations"]
    return record | {"annotations": [one for one in people if one["person_id"] != UNLABELLED]}


def _percent(total: float, count: int) -> float:
    return 100 * float(total) / count if count else float("nan")
