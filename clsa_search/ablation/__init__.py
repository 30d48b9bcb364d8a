"""What each part of the model is worth: a grid of configs, trained over seeds, in one table."""

from clsa_search.ablation.detector import DETECTOR_FILE, write_detector_weights
from clsa_search.ablation.figures import Figures, compare_levels, measure, split_levels
from clsa_search.ablation.grid import GRIDS, ROWS, Row, select_rows
from clsa_search.ablation.runs import Run, RunFailure, execute, plan_runs
from clsa_search.ablation.summary import RowSummary, Spread, summarise
from clsa_search.ablation.table import format_markdown, save_summaries, write_tables

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
    "summarise",
    "write_detector_weights",
    "write_tables",
]
