"""What each part of the model is worth: a grid of configs, trained over seeds, in one table."""

from benchmarks.ablation.detector import DETECTOR_FILE, write_detector_weights
from benchmarks.ablation.run_metrics import RunMetrics, compare_levels, evaluate_run, split_levels
from benchmarks.ablation.runs import Run, RunFailure, execute, plan_runs
from benchmarks.ablation.summary import Spread, VariantSummary, summarize
from benchmarks.ablation.table import format_markdown, save_summaries, write_tables
from benchmarks.ablation.variants import GRIDS, VARIANTS, Variant, select_variants

__all__ = [
    "DETECTOR_FILE",
    "GRIDS",
    "VARIANTS",
    "RunMetrics",
    "Variant",
    "VariantSummary",
    "Run",
    "RunFailure",
    "Spread",
    "compare_levels",
    "execute",
    "format_markdown",
    "evaluate_run",
    "plan_runs",
    "save_summaries",
    "select_variants",
    "split_levels",
    "summarize",
    "write_detector_weights",
    "write_tables",
]
