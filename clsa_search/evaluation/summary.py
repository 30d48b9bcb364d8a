"""Results for people and for programs: a table and a JSON file."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clsa_search.errors import InputError
from clsa_search.evaluation.breakdown import (
    Bucket,
    GallerySize,
    compare_gallery_sizes,
    evaluate_scale_ratios,
    evaluate_target_heights,
)
from clsa_search.evaluation.comparison import Comparison
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.scoring import Evaluation

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


def format_buckets(title: str, buckets: Sequence[Bucket]) -> str:
    """A table of the buckets that hold targets, under a header that begins with the title."""
    lines = [f"{title:<16}{'mAP':>8}{'recall':>8}{'queries':>9}{'targets':>9}"]
    for bucket in buckets:
        if bucket.targets:
            lines.append(
                f"{name_bucket(bucket):<16}{bucket.mAP:>8.2f}{bucket.recall:>8.2f}"
                f"{bucket.queries:>9}{bucket.targets:>9}"
            )
    return "\n".join(lines)


def format_gallery_sizes(sizes: Sequence[GallerySize]) -> str:
    lines = [f"{'gallery size':<16}{'mAP':>8}{'top1':>8}"]
    lines += [f"{size.images:<16.0f}{size.mAP:>8.2f}{size.top1:>8.2f}" for size in sizes]
    return "\n".join(lines)


def format_comparison(comparison: Comparison, changed: int = 10) -> str:
    """The difference of the mAP with its interval, how many queries changed, and which the most."""
    counts = ", ".join(f"{count} {name}" for name, count in comparison.count().items())
    rows = comparison.find_most_changed(changed)
    change = 100 * (comparison.second - comparison.first)[rows]
    pairs = zip(comparison.query_ids[rows].tolist(), change.tolist(), strict=True)
    most = ", ".join(f"{query_id} ({value:+.1f})" for query_id, value in pairs)
    return (
        f"{comparison.protocol}: mAP {comparison.difference:+.2f}, "
        f"{100 * comparison.confidence:g} % between {comparison.low:+.2f} "
        f"and {comparison.high:+.2f}\n"
        f"{'':{len(comparison.protocol)}}  queries: {counts}\n"
        f"{'':{len(comparison.protocol)}}  most changed: {most or 'none'}"
    )


def name_bucket(bucket: Bucket) -> str:
    low, high = f"{bucket.low:.3g}", f"{bucket.high:.3g}"
    return f"under {high}" if bucket.low == 0 else f"{low} to {high}".replace(" to inf", " and up")


def collect_details(evaluation: Evaluation, records: Sequence[dict]) -> dict[str, list]:
    """Beyond the results, of the first protocol: "scale_ratio", "target_height" (`Bucket`s), and
    "gallery_size" (`GallerySize`s) over all protocols."""
    search, protocol = evaluation.searches[0], evaluation.protocols[0]
    return {
        "scale_ratio": evaluate_scale_ratios(search, protocol, records),
        "target_height": evaluate_target_heights(search, protocol),
        "gallery_size": compare_gallery_sizes(evaluation.searches, evaluation.protocols),
    }


def save_results(
    path: str | os.PathLike,
    evaluation: Evaluation,
    predictions: Predictions,
    *,
    details: Mapping[str, list] | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write a JSON; see `save_json`.

    `results` in percent and `protocols`, the name behind each of its searches; `per_query` of the
    first protocol and `per_query_of` each further one; `details` (see `collect_details`);
    `detection_labeled`, that without unlabeled people; the predictions' `meta`; and `options`,
    what was scored and how.
    """
    rows = {search.protocol: search.per_query() for search in evaluation.searches}
    first = evaluation.searches[0].protocol
    details = {name: list(map(asdict, values)) for name, values in (details or {}).items()}
    document = {
        "results": evaluation.results,
        "protocols": {"search": first} | {f"search_{name}": name for name in rows if name != first},
        "detection_labeled": evaluation.labeled,
        "details": details,
        "per_query": rows[first],
        "per_query_of": {name: found for name, found in rows.items() if name != first},
        "meta": predictions.meta,
        "options": options,
    }
    save_json(path, document)


def save_json(path: str | os.PathLike, document: Mapping[str, Any]) -> None:
    """Write a JSON; numbers that are not finite are null.

    Raises:
        InputError: there cannot be such a file.
    """
    path = Path(path)
    text = json.dumps(finite_or_none(document), indent=1, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; expected the path of a file to make"
        ) from error


def finite_or_none(value: Any) -> Any:
    """The same with None for numbers that JSON does not know."""
    if isinstance(value, Mapping):
        return {key: finite_or_none(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite_or_none(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
