"""How well people are detected, as the evaluations of OIM, NAE, SeqNet, COAT and GFN measure it.

A detection and an annotated box match if their IoU is at least the threshold and each is the
other's best in its image. Recall is matches / annotated boxes. AP is scikit-learn's over the
detections by their score, times the recall.

Of equal IoUs, a detection takes the box annotated first, a box the detection of higher score and
then the first; detections of equal score enter together. Without annotated boxes both are NaN,
without detections 0.

`labeled_only` leaves out unlabeled people and images without a labeled one. A detection that
matches nobody labeled, and is the match of somebody unlabeled, is left out too: neither right nor
wrong, so that a perfect detector has an AP of 100. (The evaluations above call it wrong, and print
the recall alone, which is the same.)
"""

from collections.abc import Sequence

import numpy as np
import torch

from clsa_search.evaluation.box_matching import match_one_to_one, pair_boxes
from clsa_search.evaluation.positive_ranks import PositiveRanks, average_precision
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import flatten_people
from clsa_search.evaluation.ranking import count_at_least
from clsa_search.structures import UNLABELED


def evaluate_detection(
    predictions: Predictions,
    records: Sequence[dict],
    *,
    score_threshold: float = 0.5,
    iou_threshold: float = 0.5,
    labeled_only: bool = False,
) -> dict[str, float]:
    """Recall and AP of the detections in percent, as {"recall": ..., "AP": ...}.

    Args:
        predictions: of every image of the records; others are left out.
        records: the dataset's (`clsa_search.data`).
        score_threshold: detections below do not exist.
        iou_threshold: of a match.
        labeled_only: leave out people whose identity is not known (see above).

    Raises:
        InputError: an image of the records is missing.
    """
    if labeled_only:
        records = [record for record in records if _has_labeled(record)]
    image_ids = np.array([record["image_id"] for record in records], dtype=np.str_)
    aligned = predictions.align(
        image_ids, predictions.query_ids[:0], score_threshold=score_threshold
    )
    people = flatten_people(records)
    pairs = pair_boxes(people.images, people.boxes, aligned.offsets, aligned.boxes)
    box, found = _match(*pairs, aligned.scores, iou_threshold)
    counts, total = np.ones(len(aligned.scores), dtype=np.int16), len(people.boxes)
    if labeled_only:
        is_labeled = people.person_ids != UNLABELED
        counts[found[~is_labeled[box]]] = 0
        pairs = [column[is_labeled[pairs[0]]] for column in pairs]
        box, found = _match(*pairs, aligned.scores, iou_threshold)
        counts[found], total = 1, int(is_labeled.sum())
    scores = torch.from_numpy(aligned.scores)[None]
    at_least = count_at_least(scores, torch.arange(len(counts)), counts[None], scores[:, found])
    nobody = np.zeros(len(found), dtype=np.int64)  # one ranking, that of nobody in particular
    sightings = PositiveRanks(nobody, people.images[box], nobody + 1, at_least[0].numpy())
    precision = average_precision(sightings, 1, lost=np.array([total - len(found)]))
    return {
        "recall": _percent(len(found), total),
        "AP": _percent(precision.sum(), min(total, 1)),
    }


def _match(
    box: np.ndarray, detection: np.ndarray, iou: np.ndarray, scores: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes that are found, and the detection of each."""
    hits = match_one_to_one(box, detection, iou, scores) & (iou >= threshold)
    return box[hits], detection[hits]


def _has_labeled(record: dict) -> bool:
    return any(one["person_id"] != UNLABELED for one in record["annotations"])


def _percent(total: float, count: int) -> float:
    return 100 * float(total) / count if count else float("nan")
