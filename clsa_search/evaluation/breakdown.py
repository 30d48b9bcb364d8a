"""What the search metrics depend on: scale of query and target, size of the target, gallery size.

For a bucket of targets, the person is searched in the gallery as before, but only the bucket's
targets are to be found: positives of other buckets are left out of the ranking, neither right nor
wrong. A query counts in every bucket in which it has a target. Where a person is on several boxes
of an image, the highest of them is the target.

Shape letters: Q queries, H sightings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clsa_search.evaluation.metrics import SearchResult
from clsa_search.evaluation.positive_ranks import average_precision
from clsa_search.evaluation.protocol import SearchProtocol

# lowest value of each bucket but the first, log-spaced
SCALE_RATIOS = tuple(2.0**half for half in np.arange(-2, 2.5, 0.5).tolist())
TARGET_HEIGHTS = (32.0, 64.0, 128.0, 256.0, 512.0)  # pixels of the original image


@dataclass(frozen=True)
class Bucket:
    """Targets from `low` (included) to `high`, and how well they are found, in percent."""

    low: float  # 0 in the first bucket
    high: float  # infinite in the last
    mAP: float  # NaN without targets
    recall: float  # share of the targets that have a positive
    queries: int
    targets: int


@dataclass(frozen=True)
class GallerySize:
    """A point of the curve over gallery sizes; metrics in percent."""

    protocol: str
    images: float  # in the gallery, mean over the queries
    mAP: float
    top1: float


def evaluate_scale_ratios(
    result: SearchResult, protocol: SearchProtocol, records: Sequence[dict]
) -> list[Bucket]:
    """mAP by target height / query height: the question of the CLSA paper.

    Args:
        result: of `evaluate_search` under the protocol.
        protocol: its targets give the heights.
        records: the dataset's, whose query boxes give the others.
    """
    heights = {
        query["query_id"]: query["bbox"][3] - query["bbox"][1]
        for record in records
        for query in record.get("queries", [])
    }
    of_query = np.array([heights[query_id] for query_id in protocol.query_ids.tolist()])
    ratios = _target_heights(result, protocol) / of_query.reshape(-1)[result.sightings.query]
    return _fill_buckets(result, ratios, SCALE_RATIOS)


def evaluate_target_heights(result: SearchResult, protocol: SearchProtocol) -> list[Bucket]:
    """mAP by the height of the target in pixels; arguments as for `evaluate_scale_ratios`."""
    return _fill_buckets(result, _target_heights(result, protocol), TARGET_HEIGHTS)


def compare_gallery_sizes(
    results: Sequence[SearchResult], protocols: Sequence[SearchProtocol]
) -> list[GallerySize]:
    """The protocols that ask the first one's queries, from the smallest gallery to the largest."""
    points = []
    for result, protocol in zip(results, protocols, strict=True):
        if np.array_equal(protocol.query_ids, protocols[0].query_ids):
            metrics = result.metrics(top_k=(1,))
            images = len(protocol.gallery_images) / max(len(protocol.query_ids), 1)
            points.append(GallerySize(protocol.name, images, metrics["mAP"], metrics["top1"]))
    return sorted(points, key=lambda point: point.images)


def _target_heights(result: SearchResult, protocol: SearchProtocol) -> np.ndarray:
    """Of the highest target box of each sighting (H,)."""
    count = len(protocol.image_ids)
    query = np.repeat(np.arange(len(protocol.query_ids)), np.diff(protocol.target_offsets))
    keys = result.sightings.query * count + result.sightings.image
    place = np.searchsorted(keys, query * count + protocol.target_images)
    heights = np.zeros(len(keys))
    np.maximum.at(heights, place, protocol.target_boxes[:, 3] - protocol.target_boxes[:, 1])
    return heights


def _fill_buckets(result: SearchResult, values: np.ndarray, edges: Sequence[float]) -> list[Bucket]:
    bucket = np.searchsorted(edges, values, side="right")
    bounds = [0.0, *edges, math.inf]
    return [
        _fill_bucket(result, bucket == place, low, high)
        for place, (low, high) in enumerate(zip(bounds, bounds[1:], strict=False))
    ]


def _fill_bucket(result: SearchResult, selected: np.ndarray, low: float, high: float) -> Bucket:
    sightings, count = result.sightings, len(result.query_ids)
    selected = selected & (sightings.times > 0)
    asked = np.unique(sightings.query[selected])
    precision = average_precision(sightings, count, selected=selected)[asked]
    targets = int(sightings.times[selected].sum())
    found = int(sightings.found[selected].sum())
    return Bucket(
        low=low,
        high=high,
        mAP=100 * float(precision.mean()) if len(asked) else math.nan,
        recall=100 * found / targets if targets else math.nan,
        queries=len(asked),
        targets=targets,
    )
