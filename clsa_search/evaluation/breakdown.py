"""Search metrics by scale ratio of query and target, by target height, and by gallery size.

The targets are split into buckets. For each bucket the galleries stay the same, but only its
targets are to be found: positives of other buckets are left out of the ranking, neither right nor
wrong. A query counts in every bucket with one of its targets. If a person has several boxes in an
image, the highest of them is the target.

Shape letters: Q queries, H target images over all queries.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clsa_search.evaluation.positive_ranks import average_precision
from clsa_search.evaluation.protocol import SearchProtocol
from clsa_search.evaluation.record_queries import query_boxes
from clsa_search.evaluation.search_result import SearchResult

SCALE_RATIOS = tuple(2.0**half for half in np.arange(-2, 2.5, 0.5).tolist())
"""Lowest target height / query height of each bucket but the first."""

TARGET_HEIGHTS = (32.0, 64.0, 128.0, 256.0, 512.0)
"""Lowest target height of each bucket but the first, in pixels of the original image."""


@dataclass(frozen=True)
class Bucket:
    """Targets in a range of values, and the search metrics for them.

    Args:
        low: lowest value, included; 0 in the first bucket.
        high: highest value, excluded; infinite in the last bucket.
        mAP: mean average precision in percent; NaN without targets.
        recall: share of the targets with a positive in percent; NaN without targets.
        queries: number of queries.
        targets: number of targets.
    """

    low: float
    high: float
    mAP: float
    recall: float
    queries: int
    targets: int


@dataclass(frozen=True)
class GallerySize:
    """Search metrics of one protocol for the curve over gallery sizes.

    Args:
        protocol: name of the protocol.
        images: gallery images per query, mean over the queries.
        mAP: mean average precision in percent.
        top1: top-1 in percent.
    """

    protocol: str
    images: float
    mAP: float
    top1: float


def evaluate_scale_ratios(
    result: SearchResult,
    protocol: SearchProtocol,
    records: Sequence[dict],
    *,
    edges: Sequence[float] = SCALE_RATIOS,
) -> list[Bucket]:
    """Return mAP by target height / query height, the question of the CLSA paper.

    Args:
        result: result of `evaluate_search` under the protocol.
        protocol: protocol with the target boxes.
        records: records with the query boxes.
        edges: lowest ratio of each bucket but the first.
    """
    boxes = query_boxes(records)
    heights = [boxes[query_id][3] - boxes[query_id][1] for query_id in protocol.query_ids.tolist()]
    of_query = np.array(heights, dtype=np.float64)[result.positives.images.owners]
    return _fill_buckets(result, _target_heights(result, protocol) / of_query, edges)


def evaluate_target_heights(result: SearchResult, protocol: SearchProtocol) -> list[Bucket]:
    """Return mAP by target height in pixels.

    Args:
        result: result of `evaluate_search` under the protocol.
        protocol: protocol with the target boxes.
    """
    return _fill_buckets(result, _target_heights(result, protocol), TARGET_HEIGHTS)


def compare_gallery_sizes(
    results: Sequence[SearchResult], protocols: Sequence[SearchProtocol]
) -> list[GallerySize]:
    """Return the metrics of all protocols with the first one's queries, smallest gallery first."""
    points = []
    for result, protocol in zip(results, protocols, strict=True):
        if np.array_equal(protocol.query_ids, protocols[0].query_ids):
            metrics = result.metrics(top_k=(1,))
            images = len(protocol.galleries.values) / max(len(protocol.query_ids), 1)
            points.append(GallerySize(protocol.name, images, metrics["mAP"], metrics["top1"]))
    return sorted(points, key=lambda point: point.images)


def _target_heights(result: SearchResult, protocol: SearchProtocol) -> np.ndarray:
    """Return (H,) heights of the highest target box in each target image."""
    count, images, boxes = len(protocol.image_ids), result.positives.images, protocol.targets.values
    keys = images.owners * count + images.values
    target = np.searchsorted(keys, protocol.targets.owners * count + boxes.images)
    heights = np.zeros(len(keys))
    np.maximum.at(heights, target, boxes.boxes[:, 3] - boxes.boxes[:, 1])
    return heights


def _fill_buckets(result: SearchResult, values: np.ndarray, edges: Sequence[float]) -> list[Bucket]:
    bucket = np.searchsorted(edges, values, side="right")
    bounds = [0.0, *edges, math.inf]
    return [
        _fill_bucket(result, bucket == number, low, high)
        for number, (low, high) in enumerate(zip(bounds, bounds[1:], strict=False))
    ]


def _fill_bucket(result: SearchResult, selected: np.ndarray, low: float, high: float) -> Bucket:
    positives = result.positives
    selected = selected & (positives.counts > 0)
    queries = np.unique(positives.images.owners[selected])
    precision = average_precision(positives, selected=selected)[queries]
    targets = int(positives.counts[selected].sum())
    found = int(positives.found[selected].sum())
    return Bucket(
        low=low,
        high=high,
        mAP=100 * float(precision.mean()) if len(queries) else math.nan,
        recall=100 * found / targets if targets else math.nan,
        queries=len(queries),
        targets=targets,
    )
