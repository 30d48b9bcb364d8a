"""Results for people and for programs: a table and a JSON file."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsa_search.evaluation.metrics import SearchResult
from clsa_search.evaluation.predictions import Predictions

Results = Mapping[str, Mapping[str, float]]


def format_table(results: Results) -> str:
    """Lines of text, a row each, under a header wherever the columns change; "-" for NaN.

    Args:
        results: {row: {column: value in percent}}, as `score_predictions` gives them.
    """
    width = max(map(len, results), default=0) + 2
    lines: list[str] = []
    columns: list[str] = []
    for name, row in results.items():
        if list(row) != columns:
            columns = list(row)
            lines += [""] * bool(lines) + [" " * width + "".join(f"{c:>8}" for c in columns)]
        values = ("-" if math.isnan(value) else f"{value:.2f}" for value in row.values())
        lines.append(f"{name:<{width}}" + "".join(f"{value:>8}" for value in values))
    return "\n".join(lines)


def save_results(
    path: str | os.PathLike, results: Results, search: SearchResult, predictions: Predictions
) -> None:
    """Write a JSON: `results` in percent (NaN as null), `per_query`, the predictions' `meta`."""
    document = {
        "results": {name: _without_nan(row) for name, row in results.items()},
        "per_query": search.per_query(),
        "meta": predictions.meta,
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _without_nan(row: Mapping[str, float]) -> dict[str, Any]:
    return {name: None if math.isnan(value) else value for name, value in row.items()}
