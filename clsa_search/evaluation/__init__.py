"""Predictions, protocols and metrics of person search; nothing here knows a model."""

from typing import TYPE_CHECKING

from clsa_search.evaluation.breakdown import (
    compare_gallery_sizes,
    evaluate_scale_ratios,
    evaluate_target_heights,
)
from clsa_search.evaluation.comparison import Comparison, compare_results
from clsa_search.evaluation.compat import COMPATIBILITIES, build_seqnet_protocol
from clsa_search.evaluation.detection import evaluate_detection
from clsa_search.evaluation.metrics import (
    Match,
    SearchResult,
    evaluate_chance,
    evaluate_protocols,
    evaluate_search,
    rank_galleries,
)
from clsa_search.evaluation.predictions import (
    ImagePredictions,
    Predictions,
    check_annotated,
    check_predictions,
)
from clsa_search.evaluation.predictions_file import load_predictions, save_predictions
from clsa_search.evaluation.protocol import (
    SearchProtocol,
    build_protocol,
    full_gallery_protocol,
    load_protocols,
)
from clsa_search.evaluation.reranking import CBGM, KReciprocal, Reranker
from clsa_search.evaluation.scoring import Evaluation, score_predictions, score_protocols
from clsa_search.evaluation.search_options import SearchOptions
from clsa_search.evaluation.summary import format_table, save_results
from clsa_search.lazy import lazy_exports

if TYPE_CHECKING:
    from clsa_search.evaluation.evaluator import (
        GT_PREDICTIONS_FILE,
        PREDICTIONS_FILE,
        PersonSearchEvaluator,
    )
else:
    __getattr__ = lazy_exports(
        __name__,
        dict.fromkeys(
            ("GT_PREDICTIONS_FILE", "PREDICTIONS_FILE", "PersonSearchEvaluator"),
            "clsa_search.evaluation.evaluator",
        ),
    )

__all__ = [
    "CBGM",
    "COMPATIBILITIES",
    "GT_PREDICTIONS_FILE",
    "PREDICTIONS_FILE",
    "Comparison",
    "Evaluation",
    "ImagePredictions",
    "KReciprocal",
    "Match",
    "PersonSearchEvaluator",
    "Predictions",
    "Reranker",
    "SearchOptions",
    "SearchProtocol",
    "SearchResult",
    "build_protocol",
    "build_seqnet_protocol",
    "check_annotated",
    "check_predictions",
    "compare_gallery_sizes",
    "compare_results",
    "evaluate_chance",
    "evaluate_detection",
    "evaluate_protocols",
    "evaluate_scale_ratios",
    "evaluate_search",
    "evaluate_target_heights",
    "format_table",
    "full_gallery_protocol",
    "load_predictions",
    "load_protocols",
    "rank_galleries",
    "save_predictions",
    "save_results",
    "score_predictions",
    "score_protocols",
]
