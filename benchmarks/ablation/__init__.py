"""What each part of the model is worth: a grid of configs, trained over seeds, in one table."""

from benchmarks.ablation.detector import DETECTOR_FILE, write_detector_weights
from benchmarks.ablation.figures import Figures, compare_levels, measure, split_levels
from benchmarks.ablation.grid import GRIDS, ROWS, Row, select_rows
from benchmarks.ablation.runs import Run, RunFailure, execute, plan_runs
from benchmarks.ablation.summary import RowSummary, Spread, summarize
from benchmarks.ablation.table import format_markdown, save_summaries, write_tables

__all__ = [
    "DETECTOR_FILE",
    "GRIDS",
    "ROWS",
    "Figures",
    "Row",
    "RowSummary",
    "Run",
    "RunFailure",
    "Spread",
    "compare_levels",
    "execute",
    "format_markdown",
    "measure",
    "plan_runs",
    "save_summaries",
    "select_rows",
    "split_levels",
    "summarize",
    "write_detector_weights",
    "write_tables",
]
