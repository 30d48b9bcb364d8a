"""The figures of one run, from its predictions files alone.

L levels, Q queries, M detections, D embedding width of a level.
"""

import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from clsa_search.data import get_records
from clsa_search.errors import InputError
from clsa_search.evaluation import (
    PREDICTIONS_FILE,
    Predictions,
    SearchOptions,
    SearchProtocol,
    evaluate_search,
    load_predictions,
    load_protocols,
    score_protocols,
)
from clsa_search.evaluation.summary import collect_details, name_bucket

SCORE_THRESHOLD = 0.5  # the benchmarks'; detections below do not exist

RunMetrics = dict[str, dict[str, float]]
"""{group: {name: value}} of `evaluate_run`, percent but for "correlation" and "targets_by_*"."""


def evaluate_run(
    folder: str | PathLike, dataset_name: str, levels: Sequence[str], embed_dim: int
) -> RunMetrics:
    """Score the predictions of a run under the dataset's first protocol.

    Args:
        folder: with predictions.npz, which holds ground-truth boxes.
        dataset_name: what they are of.
        levels: of the embedding, lowest first.
        embed_dim: D.

    Returns:
        "detection", "search", "gt_boxes" and "chance" of `Evaluation`; mAP by "scale_ratio" and
        "target_height", of buckets that hold targets, and their number in "targets_by_scale_ratio"
        and "targets_by_target_height"; "level" (mAP of each level alone); "agreement" and
        "correlation" of each two levels, see :func:`compare_levels`.

    Raises:
        InputError: the files are missing, broken, of another dataset, or of other levels.
    """
    path = Path(folder) / PREDICTIONS_FILE
    predictions = load_predictions(path)
    parts = split_levels(predictions, levels, embed_dim, source=path)
    records = get_records(dataset_name)
    protocols = load_protocols(dataset_name, records)[:1]
    options = SearchOptions(score_threshold=SCORE_THRESHOLD)
    evaluation = score_protocols(
        predictions,
        records,
        protocols,
        options,
        source=path,
    )
    details = collect_details(evaluation, records)
    buckets = {
        kind: {name_bucket(bucket): bucket for bucket in details[kind] if bucket.targets}
        for kind in ("scale_ratio", "target_height")
    }
    alone = {level: evaluate_search(part, protocols[0], options) for level, part in parts.items()}
    agreement, correlation = compare_levels(list(parts.values()), protocols[0])
    return {
        **evaluation.results,
        **{kind: {name: b.mAP for name, b in found.items()} for kind, found in buckets.items()},
        **{
            f"targets_by_{kind}": {name: b.targets for name, b in found.items()}
            for kind, found in buckets.items()
        },
        "level": {level: result.metrics()["mAP"] for level, result in alone.items()},
        "agreement": _name_pairs(100 * agreement, levels),
        "correlation": _name_pairs(correlation, levels),
    }


def split_levels(
    predictions: Predictions,
    levels: Sequence[str],
    embed_dim: int,
    *,
    source: str | PathLike = "predictions",
) -> dict[str, Predictions]:
    """The same detections and queries as each level alone describes them, with unit rows.

    Args:
        predictions: whose embeddings are the levels' unit embeddings, concatenated and made unit.
        levels: names, in the order of the embedding.
        embed_dim: D.
        source: of the predictions, for errors.

    Raises:
        InputError: the embeddings have another width than L * D.
    """
    embeddings, queries = predictions.detections.values.embeddings, predictions.queries.embeddings
    width = embeddings.shape[1]
    if width != len(levels) * embed_dim:
        raise InputError(
            f"{source}: is of another config: embeddings are {width} wide; expected "
            f"{len(levels)} levels of {embed_dim}"
        )
    parts = {}
    for place, level in enumerate(levels):
        columns = slice(place * embed_dim, (place + 1) * embed_dim)
        # each level is 1 / L of the squared length
        parts[level] = predictions.replace_embeddings(
            embeddings[:, columns] * math.sqrt(len(levels)),
            queries[:, columns] * math.sqrt(len(levels)),
        )
    return parts


def compare_levels(
    parts: Sequence[Predictions],
    protocol: SearchProtocol,
    *,
    score_threshold: float = SCORE_THRESHOLD,
) -> tuple[np.ndarray, np.ndarray]:
    """How alike levels search: two symmetric matrices (L, L).

    Args:
        parts: of `split_levels`.
        protocol: its queries and their galleries.
        score_threshold: detections below do not exist.

    Returns:
        agreement: share of the queries whose most similar detection is the same one (of equally
            similar ones the first); NaN where no query has a gallery with detections.
        correlation: Pearson's, of the similarities of all queries with all detections of their
            galleries; NaN where they do not vary.
    """
    aligned = [
        part.align(protocol.image_ids, protocol.query_ids, score_threshold=score_threshold)
        for part in parts
    ]
    embeddings = np.stack([part.detections.values.embeddings for part in aligned])  # (L, M, D)
    queries = np.stack([part.queries.embeddings for part in aligned])  # (L, Q, D)
    best = [np.zeros((0, len(parts)), dtype=np.int64)]
    sums = np.zeros((1 + len(parts), 1 + len(parts)))  # of 1 and similarities, times each other
    for query in range(len(protocol.query_ids)):
        _, rows = aligned[0].detections.expand(protocol.galleries.row(query))
        similarities = (embeddings @ queries[:, query, :, None])[:, rows, 0].astype(np.float64)
        terms = np.vstack([np.ones(len(rows)), similarities])
        sums += terms @ terms.T
        if len(rows):
            best.append(rows[similarities.argmax(axis=1)][None])
    matches = np.concatenate(best)  # (Q, L)
    agreement = (matches[:, :, None] == matches[:, None, :]).sum(axis=0) / _nan_for_0(len(matches))
    return agreement, _correlate(sums)


def _correlate(sums: np.ndarray) -> np.ndarray:
    """Pearson's correlation (L, L) from the sums of products of (1, x_1, ..., x_L)."""
    means = sums / _nan_for_0(sums[0, 0])
    covariance = means[1:, 1:] - np.outer(means[0, 1:], means[0, 1:])
    deviation = np.sqrt(np.diag(covariance).clip(min=0))
    deviation[deviation < 1e-9] = math.nan
    return covariance / np.outer(deviation, deviation)


def _nan_for_0(count: float) -> float:
    return count or math.nan


def _name_pairs(matrix: np.ndarray, levels: Sequence[str]) -> dict[str, float]:
    return {
        f"{first}, {second}": float(matrix[i, j])
        for i, first in enumerate(levels)
        for j, second in enumerate(levels)
        if i < j
    }
