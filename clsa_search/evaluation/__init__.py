"""Predictions, protocols and metrics of person search, independent of the model."""

from typing import TYPE_CHECKING

from clsa_search.lazy import lazy_exports

if TYPE_CHECKING:
    from clsa_search.evaluation.breakdown import (
        compare_gallery_sizes,
        evaluate_scale_ratios,
        evaluate_target_heights,
    )
    from clsa_search.evaluation.cbgm import CBGM
    from clsa_search.evaluation.comparison import Comparison, compare_results
    from clsa_search.evaluation.compat import COMPATIBILITIES, build_seqnet_protocol
    from clsa_search.evaluation.dataset_protocols import load_protocols
    from clsa_search.evaluation.detection import evaluate_detection
    from clsa_search.evaluation.evaluator import PersonSearchEvaluator
    from clsa_search.evaluation.gallery_ranking import RankedDetection, rank_galleries
    from clsa_search.evaluation.k_reciprocal import KReciprocal
    from clsa_search.evaluation.metrics import (
        evaluate_chance,
        evaluate_protocols,
        evaluate_search,
    )
    from clsa_search.evaluation.prediction_checks import check_predictions
    from clsa_search.evaluation.predictions import ImagePredictions, Predictions
    from clsa_search.evaluation.predictions_file import (
        PREDICTIONS_FILE,
        load_predictions,
        save_predictions,
    )
    from clsa_search.evaluation.protocol import (
        SearchProtocol,
        TargetBoxes,
        build_protocol,
        full_gallery_protocol,
    )
    from clsa_search.evaluation.reranking import Reranker
    from clsa_search.evaluation.scoring import Evaluation, score_predictions, score_protocols
    from clsa_search.evaluation.search_options import SearchOptions
    from clsa_search.evaluation.search_result import SearchResult
    from clsa_search.evaluation.summary import format_table, save_results
else:
    _MODULES = {
        "breakdown": ["compare_gallery_sizes", "evaluate_scale_ratios", "evaluate_target_heights"],
        "cbgm": ["CBGM"],
        "comparison": ["Comparison", "compare_results"],
        "compat": ["COMPATIBILITIES", "build_seqnet_protocol"],
        "dataset_protocols": ["load_protocols"],
        "detection": ["evaluate_detection"],
        "evaluator": ["PersonSearchEvaluator"],
        "gallery_ranking": ["RankedDetection", "rank_galleries"],
        "k_reciprocal": ["KReciprocal"],
        "metrics": ["evaluate_chance", "evaluate_protocols", "evaluate_search"],
        "prediction_checks": ["check_predictions"],
        "predictions": ["ImagePredictions", "Predictions"],
        "predictions_file": ["PREDICTIONS_FILE", "load_predictions", "save_predictions"],
        "protocol": ["SearchProtocol", "TargetBoxes", "build_protocol", "full_gallery_protocol"],
        "reranking": ["Reranker"],
        "scoring": ["Evaluation", "score_predictions", "score_protocols"],
        "search_options": ["SearchOptions"],
        "search_result": ["SearchResult"],
        "summary": ["format_table", "save_results"],
    }
    __getattr__ = lazy_exports(
        __name__,
        {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names},
    )

__all__ = [
    "CBGM",
    "COMPATIBILITIES",
    "PREDICTIONS_FILE",
    "Comparison",
    "Evaluation",
    "ImagePredictions",
    "KReciprocal",
    "PersonSearchEvaluator",
    "Predictions",
    "RankedDetection",
    "Reranker",
    "SearchOptions",
    "SearchProtocol",
    "SearchResult",
    "TargetBoxes",
    "build_protocol",
    "build_seqnet_protocol",
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
