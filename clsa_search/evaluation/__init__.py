"""Predictions, protocols and metrics of person search; nothing here knows a model."""

from clsa_search.evaluation.evaluator import (
    PREDICTIONS_FILE,
    PersonSearchEvaluator,
    score_predictions,
)
from clsa_search.evaluation.metrics import (
    Match,
    SearchResult,
    evaluate_chance,
    evaluate_detection,
    evaluate_search,
    rank_gallery,
)
from clsa_search.evaluation.predictions import (
    ImagePredictions,
    Predictions,
    check_predictions,
)
from clsa_search.evaluation.predictions_file import load_predictions, save_predictions
from clsa_search.evaluation.protocol import SearchProtocol, full_gallery_protocol
from clsa_search.evaluation.report import format_table, save_results

__all__ = [
    "PREDICTIONS_FILE",
    "ImagePredictions",
    "Match",
    "PersonSearchEvaluator",
    "Predictions",
    "SearchProtocol",
    "SearchResult",
    "check_predictions",
    "evaluate_chance",
    "evaluate_detection",
    "evaluate_search",
    "format_table",
    "full_gallery_protocol",
    "load_predictions",
    "rank_gallery",
    "save_predictions",
    "save_results",
    "score_predictions",
]
