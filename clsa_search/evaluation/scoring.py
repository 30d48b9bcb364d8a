"""All metrics of a predictions file, under any number of protocols."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from clsa_search.data.galleries import ALL
from clsa_search.evaluation.compat import DETECTION_THRESHOLD, truncate_people
from clsa_search.evaluation.detection import evaluate_detection
from clsa_search.evaluation.metrics import SearchResult, evaluate_chance, evaluate_protocols
from clsa_search.evaluation.predictions import (
    Predictions,
    check_annotated,
    check_predictions,
)
from clsa_search.evaluation.protocol import SearchProtocol, full_gallery
from clsa_search.evaluation.search_options import DEFAULTS, SearchOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Results in percent, and what each query found under each protocol.

    `results`: "detection" {"recall", "AP"}; "search" {"mAP", "top1", "top5", "top10"} under the
    first protocol and "search_<protocol>" under each further one; "gt_boxes" and
    "gt_boxes_<protocol>", the same with the embeddings of annotated boxes, where there are some;
    and "chance", the first protocol with the same detections ranked at random. `labeled` is
    "detection" of the people whose identity is known.
    """

    results: OrderedDict[str, dict[str, float]]
    labeled: dict[str, float]
    protocols: list[SearchProtocol]
    searches: list[SearchResult]  # of each protocol


def score_protocols(
    predictions: Predictions,
    records: Sequence[dict],
    protocols: Sequence[SearchProtocol],
    options: SearchOptions = DEFAULTS,
    *,
    gt_predictions: Predictions | None = None,
    source: str | PathLike = "predictions",
    gt_source: str | PathLike = "predictions of annotated boxes",
) -> Evaluation:
    """Score predictions of a dataset.

    Args:
        predictions: well-formed ones, as loaded.
        records: the dataset's (`clsa_search.data`).
        protocols: one or more, of the same dataset; the first is the one to quote.
        options: how similarities are made.
        gt_predictions: of annotated boxes in place of detections: the re-ID's upper bound.
        source: of the predictions, for errors.
        gt_source: of the others.

    Raises:
        InputError: the predictions are not of these records, or see `evaluate_protocols`.
    """
    check_predictions(predictions, records, source)
    searches = evaluate_protocols(predictions, protocols, options)
    detection, labeled = _score_detection(predictions, records, options)
    results = OrderedDict(detection=detection)
    _add_rows(results, "search", searches)
    if gt_predictions is not None:
        check_predictions(gt_predictions, records, gt_source)
        check_annotated(gt_predictions, records, gt_source)
        _add_rows(results, "gt_boxes", evaluate_protocols(gt_predictions, protocols, options))
    results["chance"] = evaluate_chance(predictions, protocols[0], options)
    for search in searches:
        if nobody := int((search.targets == 0).sum()):
            count = len(search.targets)
            logger.warning(
                "%s: %d of %d queries have nobody to find", search.protocol, nobody, count
            )
    return Evaluation(results, labeled, list(protocols), searches)


def score_predictions(
    predictions: Predictions,
    records: Sequence[dict],
    options: SearchOptions = DEFAULTS,
    *,
    source: str | PathLike = "predictions",
) -> tuple[OrderedDict[str, dict[str, float]], SearchResult]:
    """`score_protocols` with every image but the query's own as gallery: results and search."""
    protocol = options.build_protocol(records, full_gallery(records), ALL)
    evaluation = score_protocols(predictions, records, [protocol], options, source=source)
    return evaluation.results, evaluation.searches[0]


def _score_detection(
    predictions: Predictions, records: Sequence[dict], options: SearchOptions
) -> list[dict[str, float]]:
    """Of all people, and of those whose identity is known."""
    threshold = options.score_threshold
    if options.compat:
        records, threshold = truncate_people(records), DETECTION_THRESHOLD
    return [
        evaluate_detection(
            predictions, records, score_threshold=threshold, labeled_only=labeled_only
        )
        for labeled_only in (False, True)
    ]


def _add_rows(results: OrderedDict, kind: str, searches: Sequence[SearchResult]) -> None:
    for place, search in enumerate(searches):
        results[f"{kind}_{search.protocol}" if place else kind] = search.metrics()
