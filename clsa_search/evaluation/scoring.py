"""All metrics of a predictions file, under any number of protocols."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from clsa_search.evaluation.detection import evaluate_detection
from clsa_search.evaluation.metrics import SearchResult, evaluate_chance, evaluate_protocols
from clsa_search.evaluation.predictions import Predictions, check_predictions
from clsa_search.evaluation.protocol import SearchProtocol, full_gallery_protocol
from clsa_search.evaluation.reranking import Reranker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Results in percent, and what each query found under each protocol.

    `results`: "detection" {"recall", "AP"}; "search" {"mAP", "top1", "top5", "top10"} under the
    first protocol and "search_<protocol>" under each further one; "gt_boxes" and
    "gt_boxes_<protocol>", the same with the descriptors of annotated boxes, where there are some;
    and "chance", the first protocol with the same detections ranked at random.
    """

    results: OrderedDict[str, dict[str, float]]
    protocols: list[SearchProtocol]
    searches: list[SearchResult]  # of each protocol


def score_protocols(
    predictions: Predictions,
    records: Sequence[dict],
    protocols: Sequence[SearchProtocol],
    *,
    score_threshold: float = 0.5,
    weight_by_score: bool = False,
    reranker: Reranker | None = None,
    gt_predictions: Predictions | None = None,
    source: str | PathLike = "predictions",
) -> Evaluation:
    """Score predictions of a dataset.

    Args:
        predictions: well-formed ones, as loaded.
        records: the dataset's (`clsa_search.data`).
        protocols: one or more, of the same dataset; the first is the one to quote.
        score_threshold: detections below do not exist.
        weight_by_score: multiply similarities by the detection's score.
        reranker: makes similarities anew.
        gt_predictions: of annotated boxes in place of detections: the re-ID's upper bound.
        source: of the predictions, for errors.

    Raises:
        InputError: the predictions are not of these records.
    """
    check_predictions(predictions, records, source)
    options = {"score_threshold": score_threshold, "reranker": reranker}
    searches = evaluate_protocols(
        predictions, protocols, weight_by_score=weight_by_score, **options
    )
    results = OrderedDict(
        detection=evaluate_detection(predictions, records, score_threshold=score_threshold)
    )
    _add_rows(results, "search", searches)
    if gt_predictions is not None:
        check_predictions(gt_predictions, records, "predictions of annotated boxes")
        _add_rows(results, "gt_boxes", evaluate_protocols(gt_predictions, protocols, **options))
    results["chance"] = evaluate_chance(predictions, protocols[0], score_threshold=score_threshold)
    for search in searches:
        if nobody := int((search.targets == 0).sum()):
            count = len(search.targets)
            logger.warning(
                "%s: %d of %d queries have nobody to find", search.protocol, nobody, count
            )
    return Evaluation(results, list(protocols), searches)


def score_predictions(
    predictions: Predictions,
    records: Sequence[dict],
    *,
    score_threshold: float = 0.5,
    source: str | PathLike = "predictions",
) -> tuple[OrderedDict[str, dict[str, float]], SearchResult]:
    """`score_protocols` with every image but the query's own as gallery: results and search."""
    evaluation = score_protocols(
        predictions,
        records,
        [full_gallery_protocol(records)],
        score_threshold=score_threshold,
        source=source,
    )
    return evaluation.results, evaluation.searches[0]


def _add_rows(results: OrderedDict, kind: str, searches: Sequence[SearchResult]) -> None:
    for place, search in enumerate(searches):
        results[f"{kind}_{search.protocol}" if place else kind] = search.metrics()
