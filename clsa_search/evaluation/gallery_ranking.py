"""Ranked galleries of single queries, detection by detection, to look at.

Shape letters: B queries, M detections sorted by image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from clsa_search.evaluation.box_matching import is_best
from clsa_search.evaluation.metrics import align
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import SearchProtocol
from clsa_search.evaluation.ranking import (
    count_gallery_images,
    find_candidates,
    iterate_similarities,
)
from clsa_search.evaluation.search_options import DEFAULTS, SearchOptions


class RankedDetection(NamedTuple):
    """Detection in the ranking of a query.

    Args:
        image_id: image of the detection.
        box: (4,) float32 XYXY in pixels of the original image.
        similarity: similarity with the query.
        correct: True for a positive.
    """

    image_id: str
    box: np.ndarray
    similarity: float
    correct: bool


def rank_galleries(
    predictions: Predictions,
    protocol: SearchProtocol,
    query_ids: Sequence[int],
    options: SearchOptions = DEFAULTS,
    *,
    top: int = 10,
) -> list[list[RankedDetection]]:
    """Return the most similar detections of the galleries of some queries, best first.

    Ties keep the order of the gallery images and of their detections.

    Args:
        predictions: predictions of the protocol's images and queries.
        protocol: protocol with the galleries.
        query_ids: queries to rank.
        options: options of the similarities.
        top: largest number of detections per query.

    Raises:
        InputError: see `evaluate_search`, or the protocol has no such query.
    """
    protocol = protocol.select(query_ids)
    aligned = align(predictions, [protocol], options)
    similarities = _compute_similarities(aligned, protocol, options)
    correct = _mark_positives(aligned, protocol, similarities)
    return [
        _take_best(aligned, protocol.galleries.row(query), similarities[query], correct[query], top)
        for query in range(len(query_ids))
    ]


def _compute_similarities(
    aligned: Predictions, protocol: SearchProtocol, options: SearchOptions
) -> np.ndarray:
    """Return (B, M) float64 similarities of the protocol's queries."""
    rows = np.searchsorted(aligned.queries.ids, protocol.query_ids)
    similarities = np.zeros((len(rows), len(aligned.detections.values)))
    weights = options.weights(aligned)
    for chunk, products in iterate_similarities(aligned, weights, torch.device("cpu")):
        (mine,) = np.nonzero((chunk.start <= rows) & (rows < chunk.stop))
        values = products[torch.from_numpy(rows[mine] - chunk.start)]
        if options.reranker is not None:
            counts = count_gallery_images(protocol, mine)
            in_gallery = np.repeat(counts > 0, aligned.detections.lengths, axis=1)
            values = options.reranker(
                values, torch.from_numpy(in_gallery), aligned, rows[mine], weights
            )
        similarities[mine] = values.numpy()
    return similarities


def _mark_positives(
    aligned: Predictions, protocol: SearchProtocol, similarities: np.ndarray
) -> np.ndarray:
    """Return (B, M) bool, True for positives."""
    candidates = find_candidates(aligned, protocol)
    query, detection = candidates.detections.owners, candidates.detections.values
    target = query * len(aligned.image_ids) + candidates.columns
    best = is_best(target, -similarities[query, detection], detection)
    correct = np.zeros(similarities.shape, dtype=bool)
    correct[query[best], detection[best]] = True
    return correct


def _take_best(
    aligned: Predictions,
    gallery: np.ndarray,
    similarities: np.ndarray,
    correct: np.ndarray,
    top: int,
) -> list[RankedDetection]:
    """Rank one gallery.

    Args:
        aligned: predictions with M detections.
        gallery: images of the gallery.
        similarities: (M,) of the query.
        correct: (M,) bool.
        top: largest number of detections.
    """
    image, detections = aligned.detections.expand(gallery)
    order = np.argsort(-similarities[detections], kind="stable")[:top]
    names = aligned.image_ids[gallery[image[order]]].tolist()
    boxes = aligned.detections.values.boxes
    return [
        RankedDetection(name, boxes[row], float(similarities[row]), bool(correct[row]))
        for name, row in zip(names, detections[order], strict=True)
    ]
