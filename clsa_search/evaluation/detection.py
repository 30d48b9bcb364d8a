"""How well people are detected, as the evaluations of OIM, NAE, SeqNet, COAT and GFN measure it.

A detection and an annotated box match if their IoU is at least the threshold and each is the
other's best in its image. Recall is matches / annotated boxes. AP is scikit-learn's over the
detections by their score, times the recall.

Of equal IoUs, a detection takes the box annotated first, a box the detection of higher score and
then the first; detections of equal score enter together. Without annotated boxes both are NaN,
without detections 0.

`labelled_only` leaves out unlabelled people and images without a labelled one. A detection of an
unlabelled person in another image counts as false, so look at the recall, not at the AP.
"""

from collections.abc import Sequence

import numpy as np
import torch

from clsa_search.data.search_json import UNLABELLED
from clsa_search.evaluation.matching import match_one_to_one, pair_boxes
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import flatten_people
from clsa_search.evaluation.ranking import count_at_least
from clsa_search.evaluation.sightings import Sightings, average_precision


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
    found = detection[hits]
    scores = torch.from_numpy(aligned.scores)[None]
    once = torch.ones_like(scores, dtype=torch.int16)
    at_least = count_at_least(scores, once, scores[:, found])[0].numpy()
    nobody = np.zeros(len(found), dtype=np.int64)  # one ranking, that of nobody in particular
    sightings = Sightings(nobody, people.images[box[hits]], nobody + 1, at_least)
    missed = np.array([len(people.boxes) - len(found)])
    precision = average_precision(sightings, 1, lost=missed)
    return {
        "recall": _percent(hits.sum(), len(people.boxes)),
        "AP": _percent(precision.sum(), min(len(people.boxes), 1)),
    }


def _labelled(record: dict) -> dict:
    people = record["annotations"]
    return record | {"annotations": [one for one in people if one["person_id"] != UNLABELLED]}


def _percent(total: float, count: int) -> float:
    return 100 * float(total) / count if count else float("nan")
