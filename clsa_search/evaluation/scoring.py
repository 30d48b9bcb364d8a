"""All metrics of predictions, under any number of protocols."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from clsa_search.data.galleries import ALL
from clsa_search.evaluation.compat import DETECTION_THRESHOLD, truncate_boxes
from clsa_search.evaluation.detection import evaluate_detection
from clsa_search.evaluation.metrics import evaluate_chance, evaluate_protocols
from clsa_search.evaluation.prediction_checks import check_predictions
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import SearchProtocol, full_gallery
from clsa_search.evaluation.search_options import DEFAULTS, SearchOptions
from clsa_search.evaluation.search_result import SearchResult

logger = logging.getLogger(__name__)

Results = OrderedDict[str, dict[str, float]]
"""{row: {metric: value in percent}}."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of predictions, and the results of every query.

    The rows of `results` are "detection" (recall, AP); "search" (mAP, top1, top5, top10) under the
    first protocol and "search_<protocol>" under each further one; "gt_boxes" and
    "gt_boxes_<protocol>", the same with ground-truth boxes as detections, if the predictions hold
    them; "chance", the first protocol with random embeddings.

    Args:
        results: rows of metrics.
        labeled: "detection" without unlabeled boxes.
        protocols: scored protocols.
        searches: result under each protocol.
    """

    results: Results
    labeled: dict[str, float]
    protocols: list[SearchProtocol]
    searches: list[SearchResult]


def score_protocols(
    predictions: Predictions,
    records: Sequence[dict],
    protocols: Sequence[SearchProtocol],
    options: SearchOptions = DEFAULTS,
    *,
    source: str | PathLike = "predictions",
) -> Evaluation:
    """Score the predictions of a dataset; ground-truth boxes in them give the re-ID's upper bound.

    Args:
        predictions: well-formed predictions, as loaded.
        records: records of the dataset (`clsa_search.data`).
        protocols: one or more protocols of the dataset; the first is the one to quote.
        options: options of the similarities.
        source: path of the predictions or another name for the errors.

    Raises:
        InputError: the predictions do not belong to the records, or see `evaluate_protocols`.
    """
    check_predictions(predictions, records, source)
    searches = evaluate_protocols(predictions, protocols, options)
    results = OrderedDict(detection=_score_detection(predictions, records, options))
    _add_rows(results, "search", searches)
    if predictions.ground_truth is not None:
        upper = evaluate_protocols(predictions.use_ground_truth(), protocols, options)
        _add_rows(results, "gt_boxes", upper)
    results["chance"] = evaluate_chance(predictions, protocols[0], options)
    for search in searches:
        if empty := int((search.targets == 0).sum()):
            logger.warning(
                "%s: %d of %d queries have no target in their gallery",
                *(search.protocol, empty, len(search.targets)),
            )
    labeled = _score_detection(predictions, records, options, labeled_only=True)
    return Evaluation(results, labeled, list(protocols), searches)


def score_predictions(
    predictions: Predictions,
    records: Sequence[dict],
    options: SearchOptions = DEFAULTS,
    *,
    source: str | PathLike = "predictions",
) -> tuple[Results, SearchResult]:
    """Score predictions with every image except the query's own as gallery.

    Args:
        predictions: see `score_protocols`.
        records: records of the dataset.
        options: options of the similarities.
        source: path of the predictions or another name for the errors.

    Returns:
        The rows of metrics, and the search result.
    """
    protocol = options.build_protocol(records, full_gallery(records), ALL)
    evaluation = score_protocols(predictions, records, [protocol], options, source=source)
    return evaluation.results, evaluation.searches[0]


def _score_detection(
    predictions: Predictions,
    records: Sequence[dict],
    options: SearchOptions,
    labeled_only: bool = False,
) -> dict[str, float]:
    threshold = options.score_threshold
    if options.compat:
        records, threshold = truncate_boxes(records), DETECTION_THRESHOLD
    return evaluate_detection(
        predictions, records, score_threshold=threshold, labeled_only=labeled_only
    )


def _add_rows(results: Results, kind: str, searches: Sequence[SearchResult]) -> None:
    for number, search in enumerate(searches):
        results[f"{kind}_{search.protocol}" if number else kind] = search.metrics()
