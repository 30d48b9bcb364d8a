"""Tables and JSON files of results."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from clsa_search.atomic_io import replace_file
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
from clsa_search.output_checks import reported_writes


def format_table(results: Mapping[str, Mapping[str, float]]) -> str:
    """Return a text table with a line per row, and a header wherever the columns change.

    Args:
        results: {row: {column: value in percent}}, as from `score_predictions`; NaN is shown as
            "-".
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
    """Return a text table of the buckets with targets; the header begins with the title."""
    lines = [f"{title:<16}{'mAP':>8}{'recall':>8}{'queries':>9}{'targets':>9}"]
    for bucket in buckets:
        if bucket.targets:
            lines.append(
                f"{name_bucket(bucket):<16}{bucket.mAP:>8.2f}{bucket.recall:>8.2f}"
                f"{bucket.queries:>9}{bucket.targets:>9}"
            )
    return "\n".join(lines)


def format_gallery_sizes(sizes: Sequence[GallerySize]) -> str:
    """Return a text table of the metrics by gallery size."""
    lines = [f"{'gallery size':<16}{'mAP':>8}{'top1':>8}"]
    lines += [f"{size.images:<16.0f}{size.mAP:>8.2f}{size.top1:>8.2f}" for size in sizes]
    return "\n".join(lines)


def format_comparison(comparison: Comparison, changed: int = 10) -> str:
    """Return three lines: mAP difference with its interval, changed queries, largest changes.

    Args:
        comparison: comparison of two results.
        changed: number of queries to list.
    """
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
    """Return the range of a bucket as text, such as "0.5 to 0.707"."""
    low, high = f"{bucket.low:.3g}", f"{bucket.high:.3g}"
    return f"under {high}" if bucket.low == 0 else f"{low} to {high}".replace(" to inf", " and up")


def collect_details(evaluation: Evaluation, records: Sequence[dict]) -> dict[str, list]:
    """Return breakdowns by name.

    "scale_ratio" and "target_height" are lists of `Bucket` for the first protocol; "gallery_size"
    is a list of `GallerySize` over all protocols.
    """
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
    """Write the results as JSON (see `save_json`).

    The fields are `results` in percent; `protocols`, the protocol of each row; `detection_labeled`,
    detection without unlabeled boxes; `details`; `per_query` of the first protocol and
    `per_query_of` each further one; `meta` of the predictions; `options`.

    Args:
        path: file to write.
        evaluation: results.
        predictions: scored predictions.
        details: breakdowns of `collect_details`.
        options: JSON values: scored files and options.
    """
    rows = {search.protocol: search.per_query() for search in evaluation.searches}
    first = evaluation.searches[0].protocol
    document = {
        "results": evaluation.results,
        "protocols": {"search": first} | {f"search_{name}": name for name in rows if name != first},
        "detection_labeled": evaluation.labeled,
        "details": {
            name: [asdict(value) for value in values] for name, values in (details or {}).items()
        },
        "per_query": rows[first],
        "per_query_of": {name: found for name, found in rows.items() if name != first},
        "meta": predictions.meta,
        "options": options,
    }
    save_json(path, document)


def save_json(path: str | os.PathLike, document: Mapping[str, Any]) -> None:
    """Write a JSON file, with null for non-finite numbers.

    Raises:
        InputError: the file cannot be written.
    """
    text = json.dumps(finite_or_none(document), indent=1, allow_nan=False)
    with reported_writes(path), replace_file(path) as file:
        file.write(f"{text}\n".encode())


def finite_or_none(value: Any) -> Any:
    """Return a JSON value with None for non-finite numbers."""
    if isinstance(value, Mapping):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
