"""Where the positives of many queries stand in their galleries, by counting.

All metrics need, for each positive, only how many detections of the gallery are at least as
similar. So the similarities of a chunk of queries are computed once for all protocols; then, for
each protocol, those that reach the least similar positive are sorted as plain numbers and the
positives looked up.

Shape letters: Q queries, B of them in a chunk, N images, M detections sorted by image, P places
(the most images that hold one query's person), H holders and K candidates of all queries.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from clsa_search.evaluation.box_matching import pair_boxes, target_threshold
from clsa_search.evaluation.positive_ranks import PositiveRanks
from clsa_search.evaluation.predictions import Predictions, expand_ranges
from clsa_search.evaluation.protocol import SearchProtocol
from clsa_search.evaluation.reranking import Reranker

_CHUNK = 1 << 23  # similarities at a time: 32 MB
_QUERIES = 128  # at a time at least, whatever that takes: each time all embeddings are read
_BLOCK = 16  # a product with few or odd rows rounds otherwise: equal detections would differ
_MISSING = -float("inf")  # similarity of a positive that is not there


@dataclass(frozen=True)
class Candidates:
    """Holders: the images that hold a query's person, numbered 0, 1, ... (`place`) for each query.

    Candidates: the detections that lie on the person there. Both are sorted by query.
    """

    holder_query: np.ndarray  # (H,) rows of the protocol
    holder_place: np.ndarray  # (H,)
    holder_image: np.ndarray  # (H,)
    query: np.ndarray  # (K,)
    place: np.ndarray  # (K,)
    detection: np.ndarray  # (K,)


def find_candidates(predictions: Predictions, protocol: SearchProtocol) -> Candidates:
    """Compare the target boxes with the detections of their images; no similarity comes in.

    Args:
        predictions: aligned with the protocol's images, in its order.
        protocol: its targets are used.
    """
    query = np.repeat(np.arange(len(protocol.query_ids)), np.diff(protocol.target_offsets))
    key = query * len(protocol.image_ids) + protocol.target_images
    holders, first, holder = np.unique(key, return_index=True, return_inverse=True)
    holder_query = query[first]
    place = np.arange(len(holders)) - np.searchsorted(holder_query, holder_query)
    target, detection, iou = pair_boxes(
        protocol.target_images, protocol.target_boxes, predictions.offsets, predictions.boxes
    )
    hit = iou >= target_threshold(protocol.target_boxes)[target]
    target, detection = target[hit], detection[hit]
    return Candidates(
        holder_query=holder_query,
        holder_place=place,
        holder_image=protocol.target_images[first],
        query=query[target],
        place=place[holder[target]],
        detection=detection,
    )


def rank_holders(
    predictions: Predictions,
    protocols: Sequence[SearchProtocol],
    candidates: Sequence[Candidates],
    *,
    weights: np.ndarray | None,
    reranker: Reranker | None,
    device: torch.device,
) -> list[PositiveRanks]:
    """Rank the galleries of all protocols, a chunk of queries at a time.

    Args:
        predictions: aligned with the images that all the protocols index; its queries ascend and
            are those of any protocol.
        protocols: their galleries are used.
        candidates: of each protocol.
        weights: (M,) of the detections, multiplied to their similarities.
        reranker: replaces the similarities of a query by those of its gallery.
        device: where similarities are computed and sorted.
    """
    rows = [np.searchsorted(predictions.query_ids, protocol.query_ids) for protocol in protocols]
    counts = np.diff(predictions.offsets)
    images = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(device)
    ranks = [_start_ranking(found) for found in candidates]
    for chunk, similarities in iterate_similarities(predictions, weights, device):
        for protocol, mine, found, out in zip(protocols, rows, candidates, ranks, strict=True):
            (queries,) = np.nonzero((chunk.start <= mine) & (mine < chunk.stop))
            if len(queries) == 0:
                continue
            local = mine[queries] - chunk.start
            chosen = similarities
            if not np.array_equal(local, np.arange(len(similarities))):
                chosen = similarities[torch.from_numpy(local).to(device)]
            listings = count_listings(protocol, queries)
            if reranker is not None:
                listed = _spread(listings > 0, images)
                chosen = reranker(chosen, listed, predictions, mine[queries], weights)
            _rank_chunk(chosen, images, listings, queries, found, out)
    return ranks


def count_at_least(
    values: torch.Tensor, images: torch.Tensor, listings: np.ndarray, bounds: torch.Tensor
) -> torch.Tensor:
    """How many of a row's values (B, M) reach each of its bounds (B, P).

    Args:
        values: real numbers.
        images: (M,) the image of each.
        listings: (B, N) int16, how often each image counts.
        bounds: -inf where there is none.

    Returns:
        int64 (B, P), 0 where there is no bound.
    """
    if values.device.type != "cpu":
        return count_batched(values, _spread(listings, images), bounds)
    # NumPy's sort of plain numbers is many times quicker here, and most need not be sorted
    owners, counts = images.numpy(), np.zeros(bounds.shape, dtype=np.int64)
    rows = zip(values.numpy(), listings, bounds.numpy(), strict=True)
    for count, (row, listed, bound) in zip(counts, rows, strict=True):
        there = bound > _MISSING
        if there.any():
            near = np.flatnonzero(row >= bound[there].min())
            ordered = np.sort(np.repeat(row[near], listed[owners[near]]))
            count[there] = len(ordered) - np.searchsorted(ordered, bound[there])
    return torch.from_numpy(counts)


def count_batched(values: torch.Tensor, times: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
    """`count_at_least` for a GPU, each value counted `times` (B, M): whole chunks are sorted."""
    counts = torch.zeros_like(bounds, dtype=torch.int64)
    for copy in range(1, 1 + int(times.max() if times.numel() else 0)):
        ordered = values.masked_fill(times < copy, _MISSING).sort(dim=1).values
        counts += values.shape[1] - torch.searchsorted(ordered, bounds)
    return counts.masked_fill_(bounds == _MISSING, 0)


def iterate_similarities(
    predictions: Predictions, weights: np.ndarray | None, device: torch.device
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Chunks of queries, with their similarities (B, M) to all detections, weighted by (M,).

    They lie in the same memory each time: good until the next ones.
    """
    features = torch.from_numpy(predictions.features).to(device)
    queries = torch.from_numpy(predictions.query_embeddings).to(device)
    factors = None if weights is None else torch.from_numpy(weights).to(device)
    step = max(_QUERIES, _CHUNK // max(1, len(features), len(predictions.image_ids)))
    rows = min(step, len(queries))
    products = torch.empty(rows + -rows % _BLOCK, len(features), device=device)
    for start in range(0, len(queries), step):
        chunk = slice(start, min(start + step, len(queries)))
        block = queries[chunk]
        block = torch.nn.functional.pad(block, (0, 0, 0, -len(block) % _BLOCK))
        torch.mm(block, features.T, out=products[: len(block)])
        similarities = products[: chunk.stop - start]
        yield chunk, similarities if weights is None else similarities.mul_(factors)


def _start_ranking(candidates: Candidates) -> PositiveRanks:
    times, at_least = np.zeros((2, len(candidates.holder_query)), dtype=np.int64)
    return PositiveRanks(candidates.holder_query, candidates.holder_image, times, at_least)


def count_listings(protocol: SearchProtocol, queries: np.ndarray) -> np.ndarray:
    """How often each image (N) is in the gallery of each of the queries (B); int16."""
    counts = np.empty((len(queries), len(protocol.image_ids)), dtype=np.int16)
    for row, query in zip(counts, queries.tolist(), strict=True):
        gallery = protocol.gallery_images[slice(*protocol.gallery_offsets[query : query + 2])]
        row[:] = np.bincount(gallery, minlength=len(row))
    return counts


def _spread(listings: np.ndarray, images: torch.Tensor) -> torch.Tensor:
    """From images (B, N) to their detections (B, M), whose images (M,) are given."""
    return torch.from_numpy(listings).to(images.device).index_select(1, images)


def _rank_chunk(
    similarities: torch.Tensor,
    images: torch.Tensor,
    listings: np.ndarray,
    queries: np.ndarray,
    candidates: Candidates,
    out: PositiveRanks,
) -> None:
    """Fill in the ranks of the holders of some queries.

    Args:
        similarities: (B, M) of the queries.
        images: (M,) of the detections.
        listings: (B, N) int16.
        queries: (B,) rows of the protocol.
        candidates: of all queries of the protocol.
        out: of all queries; what belongs to these ones is written.
    """
    query, holder = _rows_of(candidates.holder_query, queries)
    place = candidates.holder_place[holder]
    out.times[holder] = listings[query, candidates.holder_image[holder]]

    row, candidate = _rows_of(candidates.query, queries)
    shape = len(queries), 1 + int(place.max(initial=0))
    key = torch.from_numpy(row * shape[1] + candidates.place[candidate]).to(similarities.device)
    detection = torch.from_numpy(candidates.detection[candidate]).to(key.device)
    found = similarities.new_full((shape[0] * shape[1],), _MISSING)
    mine = similarities[torch.from_numpy(row).to(key.device), detection]
    found.scatter_reduce_(0, key, mine, "amax")
    found = found.view(shape)

    at_least = count_at_least(similarities, images, listings, found)
    out.at_least[holder] = at_least.cpu().numpy()[query, place]


def _rows_of(owners: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(which of the queries, entry) of the entries that the queries own; owners (K,) ascend."""
    start = np.searchsorted(owners, queries, side="left")
    return expand_ranges(start, np.searchsorted(owners, queries, side="right") - start)
