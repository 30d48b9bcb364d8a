"""Predictions, protocols and metrics of person search; nothing here knows a model."""

from clsa_search.evaluation.detection import evaluate_detection
from clsa_search.evaluation.evaluator import (
    PREDICTIONS_FILE,
    PersonSearchEvaluator,
    score_predictions,
)
from clsa_search.evaluation.metrics import (
    Match,
    SearchResult,
    evaluate_chance,
    evaluate_protocols,
    evaluate_search,
    rank_gallery,
)
from clsa_search.evaluation.predictions import (
    ImagePredictions,
    Predictions,
    check_predictions,
)
from clsa_search.evaluation.predictions_file import load_predictions, save_predictions
from clsa_search.evaluation.protocol import (
    SearchProtocol,
    build_protocol,
    full_gallery_protocol,
    load_protocols,
)
from clsa_search.evaluation.report import format_table, save_results
from clsa_search.evaluation.reranking import CBGM, KReciprocal, Reranker

__all__ = [
    "CBGM",
    "PREDICTIONS_FILE",
    "ImagePredictions",
    "KReciprocal",
    "Match",
    "PersonSearchEvaluator",
    "Predictions",
    "Reranker",
    "SearchProtocol",
    "SearchResult",
    "build_protocol",
    "check_predictions",
    "evaluate_chance",
    "evaluate_detection",
    "evaluate_protocols",
    "evaluate_search",
    "format_table",
    "full_gallery_protocol",
    "load_predictions",
    "load_protocols",
    "rank_gallery",
    "save_predictions",
    "save_results",
    "score_predictions",
]
