"""Detection metrics with the semantics of OIM, NAE, SeqNet, COAT and GFN.

A detection and a ground-truth box match if their IoU is at least the threshold and each is the
other's best in its image. Recall is matches / ground-truth boxes. AP is scikit-learn's over the
detections by their score, times the recall.

Of equal IoUs, a detection takes the first box, and a box takes the detection of higher score, then
the first; detections of equal score enter together. Without ground-truth boxes both metrics are
NaN, without detections 0.

`labeled_only` leaves out unlabeled boxes and images without a labeled one. A detection with an
unlabeled match and no labeled one is left out too, neither right nor wrong: a perfect detector has
an AP of 100. (The code bases above count it as wrong, but print only the recall, with no
difference.)
"""

from collections.abc import Sequence

import numpy as np
import torch

from clsa_search.data.labeled_boxes import LabeledBoxes
from clsa_search.evaluation.box_matching import match_one_to_one, pair_boxes
from clsa_search.evaluation.positive_ranks import PositiveRanks, average_precision
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.ranking import count_at_least
from clsa_search.evaluation.record_queries import image_key
from clsa_search.structures import DEFAULT_SCORE_THRESHOLD, UNLABELED, Ragged


def evaluate_detection(
    predictions: Predictions,
    records: Sequence[dict],
    *,
    score_threshold: float = DEFAULT_SCORE_THRESHOLD,
    iou_threshold: float = 0.5,
    labeled_only: bool = False,
) -> dict[str, float]:
    """Return recall and AP of the detections in percent, as {"recall": ..., "AP": ...}.

    Args:
        predictions: predictions of every image of the records; others are ignored.
        records: records of a dataset (`clsa_search.data`).
        score_threshold: detections with a lower score are dropped.
        iou_threshold: smallest IoU of a match.
        labeled_only: leave out unlabeled boxes (see the module).

    Raises:
        InputError: an image of the records is missing.
    """
    if labeled_only:
        records = [record for record in records if _has_labeled(record)]
    image_ids = np.array([image_key(record) for record in records], dtype=np.str_)
    no_queries = predictions.queries.ids[:0]
    aligned = predictions.align(image_ids, no_queries, score_threshold=score_threshold).detections
    scores = aligned.values.scores
    annotations = LabeledBoxes.from_annotations(records)
    pairs = pair_boxes(annotations.images, annotations.boxes, aligned)
    box, found = _match(*pairs, scores, iou_threshold)
    counts, total = np.ones(len(scores), dtype=np.int16), len(annotations)
    if labeled_only:
        is_labeled = annotations.person_ids != UNLABELED
        counts[found[~is_labeled[box]]] = 0
        keep = is_labeled[pairs[0]]
        box, found = _match(pairs[0][keep], pairs[1][keep], pairs[2][keep], scores, iou_threshold)
        counts[found], total = 1, int(is_labeled.sum())
    precision = _average_precision(scores, counts, annotations.images[box], found, total)
    return {"recall": _percent(len(found), total), "AP": _percent(precision, min(total, 1))}


def _match(
    box: np.ndarray, detection: np.ndarray, iou: np.ndarray, scores: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the detected boxes, and the detection of each."""
    hits = match_one_to_one(box, detection, iou, scores) & (iou >= threshold)
    return box[hits], detection[hits]


def _average_precision(
    scores: np.ndarray, counts: np.ndarray, images: np.ndarray, found: np.ndarray, total: int
) -> float:
    """Return average precision times recall: one ranking of all detections by score.

    Args:
        scores: (M,) detection scores.
        counts: (M,) int16, 0 for left-out detections.
        images: image of each match.
        found: detection of each match.
        total: number of ground-truth boxes.
    """
    values = torch.from_numpy(scores)[None]
    at_least = count_at_least(values, torch.arange(len(counts)), counts[None], values[:, found])
    positives = PositiveRanks(
        images=Ragged.from_lengths(images, [len(found)]),
        counts=np.ones(len(found), dtype=np.int64),
        ranks=at_least[0].numpy(),
    )
    missed = np.array([total - len(found)])
    return float(average_precision(positives, unsearched=missed)[0])


def _has_labeled(record: dict) -> bool:
    return any(one["person_id"] != UNLABELED for one in record["annotations"])


def _percent(total: float, count: int) -> float:
    return 100 * float(total) / count if count else float("nan")
