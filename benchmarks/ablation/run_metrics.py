"""Metrics of one run, from its predictions file.

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
from clsa_search.evaluation.breakdown import SCALE_RATIOS, evaluate_scale_ratios
from clsa_search.evaluation.summary import collect_details, name_bucket
from clsa_search.structures import DEFAULT_SCORE_THRESHOLD

RunMetrics = dict[str, dict[str, float]]
"""{group: {name: value}} of `evaluate_run`, in percent but for correlations and numbers of targets.
"""

SCALES = ("far", "similar", "near")
"""Ranges of target height / query height: under 0.354, up to 2.83, and from there on."""


def evaluate_run(
    folder: str | PathLike, dataset_name: str, levels: Sequence[str], embed_dim: int
) -> RunMetrics:
    """Score the predictions of a run under the first protocol of the dataset.

    Args:
        folder: folder of predictions.npz with ground-truth boxes.
        dataset_name: dataset of the predictions.
        levels: levels of the embedding, lowest first.
        embed_dim: width D of a level.

    Returns:
        "detection", "search", "gt_boxes" and "chance" of `Evaluation`; mAP by "scale_ratio" and
        "target_height" for buckets with positives, and their numbers of positives in
        "targets_by_scale_ratio" and "targets_by_target_height"; mAP by "scale" in three ranges, see
        SCALES; "level" (mAP of each level alone); "agreement", "correlation" and "rho" of each pair
        of levels, see :func:`compare_levels`.

    Raises:
        InputError: if the file is missing, broken, of another dataset, or of other levels.
    """
    path = Path(folder) / PREDICTIONS_FILE
    predictions = load_predictions(path)
    parts = split_levels(predictions, levels, embed_dim, source=path)
    records = get_records(dataset_name)
    protocols = load_protocols(dataset_name, records)[:1]
    options = SearchOptions(score_threshold=DEFAULT_SCORE_THRESHOLD)
    evaluation = score_protocols(predictions, records, protocols, options, source=path)
    details = collect_details(evaluation, records)
    alone = {level: evaluate_search(part, protocols[0], options) for level, part in parts.items()}
    agreement, correlation, rho = compare_levels(list(parts.values()), protocols[0])
    metrics = dict(evaluation.results)
    for kind in ("scale_ratio", "target_height"):
        buckets = {name_bucket(bucket): bucket for bucket in details[kind] if bucket.targets}
        metrics[kind] = {name: bucket.mAP for name, bucket in buckets.items()}
        metrics[f"targets_by_{kind}"] = {name: b.targets for name, b in buckets.items()}
    scales = evaluate_scale_ratios(
        evaluation.searches[0], protocols[0], records, edges=(SCALE_RATIOS[1], SCALE_RATIOS[-2])
    )
    metrics["scale"] = {n: b.mAP for n, b in zip(SCALES, scales, strict=True) if b.targets}
    return metrics | {
        "level": {level: result.metrics()["mAP"] for level, result in alone.items()},
        "agreement": _name_pairs(100 * agreement, levels),
        "correlation": _name_pairs(correlation, levels),
        "rho": _name_pairs(rho, levels),
    }


def split_levels(
    predictions: Predictions,
    levels: Sequence[str],
    embed_dim: int,
    *,
    source: str | PathLike = "predictions",
) -> dict[str, Predictions]:
    """Return the predictions of each level alone, with unit embeddings.

    Args:
        predictions: predictions with concatenated embeddings of all levels.
        levels: names of the levels, in the order of the embedding.
        embed_dim: width D of a level.
        source: name of the predictions in errors.

    Raises:
        InputError: if the embeddings are not L * D wide.
    """
    embeddings, queries = predictions.detections.values.embeddings, predictions.queries.embeddings
    width = embeddings.shape[1]
    if width != len(levels) * embed_dim:
        raise InputError(
            f"{source}: embeddings are {width} wide; expected {len(levels)} x {embed_dim}, the "
            f"levels of the config"
        )
    parts = {}
    for index, level in enumerate(levels):
        columns = slice(index * embed_dim, (index + 1) * embed_dim)
        # Each level is 1 / L of the squared length.
        parts[level] = predictions.replace_embeddings(
            embeddings[:, columns] * math.sqrt(len(levels)),
            queries[:, columns] * math.sqrt(len(levels)),
        )
    return parts


def compare_levels(
    parts: Sequence[Predictions],
    protocol: SearchProtocol,
    *,
    score_threshold: float = DEFAULT_SCORE_THRESHOLD,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare the search results of levels.

    Args:
        parts: predictions of `split_levels`.
        protocol: queries and galleries.
        score_threshold: smallest score of a detection.

    Returns:
        agreement: (L, L) share of queries with the same most similar detection (the first one for
            ties); NaN without a query with detections in its gallery.
        correlation: (L, L) Pearson correlation of the similarities of all queries with all
            detections of their galleries; NaN for constant similarities.
        rho: (L, L) the same over the gallery images without the query's person, so over pairs of
            different people.
    """
    aligned = [
        part.align(protocol.image_ids, protocol.query_ids, score_threshold=score_threshold)
        for part in parts
    ]
    embeddings = np.stack([part.detections.values.embeddings for part in aligned])  # (L, M, D)
    queries = np.stack([part.queries.embeddings for part in aligned])  # (L, Q, D)
    best = [np.zeros((0, len(parts)), dtype=np.int64)]
    # products of (1, similarities)
    sums, others = np.zeros((2, 1 + len(parts), 1 + len(parts)))
    for query in range(len(protocol.query_ids)):
        gallery = protocol.galleries.row(query)
        owners, rows = aligned[0].detections.expand(gallery)
        similarities = (embeddings @ queries[:, query, :, None])[:, rows, 0].astype(np.float64)
        terms = np.vstack([np.ones(len(rows)), similarities])
        sums += terms @ terms.T
        terms = terms[:, ~np.isin(gallery[owners], protocol.targets.row(query).images)]
        others += terms @ terms.T
        if len(rows):
            best.append(rows[similarities.argmax(axis=1)][None])
    matches = np.concatenate(best)  # (Q, L)
    agreement = (matches[:, :, None] == matches[:, None, :]).sum(axis=0)
    return agreement / _zero_to_nan(len(matches)), _correlate(sums), _correlate(others)


def _correlate(sums: np.ndarray) -> np.ndarray:
    """Return the (L, L) Pearson correlation from sums of products of (1, x_1, ..., x_L)."""
    means = sums / _zero_to_nan(sums[0, 0])
    covariance = means[1:, 1:] - np.outer(means[0, 1:], means[0, 1:])
    deviation = np.sqrt(np.diag(covariance).clip(min=0))
    deviation[deviation < 1e-9] = math.nan
    return covariance / np.outer(deviation, deviation)


def _zero_to_nan(count: float) -> float:
    return count or math.nan


def _name_pairs(matrix: np.ndarray, levels: Sequence[str]) -> dict[str, float]:
    return {
        f"{first}, {second}": float(matrix[i, j])
        for i, first in enumerate(levels)
        for j, second in enumerate(levels)
        if i < j
    }
