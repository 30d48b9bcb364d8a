"""Ranks of the positives of many queries, by counting.

For each positive, the metrics need only the number of detections with at least its similarity. So
the similarities of a chunk of queries are computed once for all protocols. For each protocol, the
similarities from the least similar positive on are sorted as plain numbers, and the positives are
looked up in them.

Shape letters: Q queries, B of them in a chunk, N images, M detections sorted by image, H target
images and K candidates over all queries, P the most target images of one query.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from clsa_search.evaluation.box_matching import pair_boxes, target_threshold
from clsa_search.evaluation.positive_ranks import PositiveRanks
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import SearchProtocol
from clsa_search.evaluation.reranking import Reranker
from clsa_search.structures import Ragged

SIMILARITIES_PER_CHUNK = 1 << 23
"""Similarities at a time, 32 MB."""

QUERIES_PER_CHUNK = 128
"""Smallest number of queries at a time, because each chunk reads all embeddings."""

_BLOCK = 16  # products with few or odd rows round differently; ties would be lost
_MISSING = -float("inf")  # similarity of a missing positive


@dataclass(frozen=True)
class Candidates:
    """Detections on target boxes: the positive of a target image is the most similar of its own.

    Args:
        images: Q rows, (H,) target images of each query, ascending.
        detections: Q rows, (K,) detections on the query's target boxes.
        columns: (K,) position of the detection's image in the query's row of `images`.
    """

    images: Ragged[np.ndarray]
    detections: Ragged[np.ndarray]
    columns: np.ndarray


def find_candidates(predictions: Predictions, protocol: SearchProtocol) -> Candidates:
    """Compare the target boxes with the detections of their images; similarities play no part.

    Args:
        predictions: predictions of the protocol's images, in its order.
        protocol: protocol with the target boxes.
    """
    count, query, boxes = len(protocol.query_ids), protocol.targets.owners, protocol.targets.values
    key = query * len(protocol.image_ids) + boxes.images
    _, first, image = np.unique(key, return_index=True, return_inverse=True)
    images = Ragged.from_lengths(boxes.images[first], np.bincount(query[first], minlength=count))
    columns = np.arange(len(first)) - images.offsets[images.owners]
    target, detection, iou = pair_boxes(boxes.images, boxes.boxes, predictions.detections)
    hit = iou >= target_threshold(boxes.boxes)[target]
    target, detection = target[hit], detection[hit]
    return Candidates(
        images=images,
        detections=Ragged.from_lengths(detection, np.bincount(query[target], minlength=count)),
        columns=columns[image[target]],
    )


def rank_positives(
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
        predictions: predictions of the common images of all protocols, in their order; the
            queries are those of any protocol, in ascending order.
        protocols: protocols with the galleries.
        candidates: candidates of each protocol.
        weights: (M,) factors of the detections' similarities, None for ones.
        reranker: re-ranker of each query's gallery.
        device: device for the computation.
    """
    rows = [np.searchsorted(predictions.queries.ids, one.query_ids) for one in protocols]
    images = torch.from_numpy(predictions.detections.owners).to(device)
    ranks = [_start_ranking(one) for one in candidates]
    for chunk, similarities in iterate_similarities(predictions, weights, device):
        for protocol, mine, found, out in zip(protocols, rows, candidates, ranks, strict=True):
            (queries,) = np.nonzero((chunk.start <= mine) & (mine < chunk.stop))
            if len(queries) == 0:
                continue
            local = mine[queries] - chunk.start
            chosen = similarities
            if not np.array_equal(local, np.arange(len(similarities))):
                chosen = similarities[torch.from_numpy(local).to(device)]
            counts = count_gallery_images(protocol, queries)
            if reranker is not None:
                in_gallery = _spread(counts > 0, images)
                chosen = reranker(chosen, in_gallery, predictions, mine[queries], weights)
            _rank_chunk(chosen, images, counts, queries, found, out)
    return ranks


def count_at_least(
    values: torch.Tensor, images: torch.Tensor, image_counts: np.ndarray, bounds: torch.Tensor
) -> torch.Tensor:
    """Count the values of each row from each of its bounds on.

    Args:
        values: (B, M) real numbers.
        images: (M,) int64 image of each value.
        image_counts: (B, N) int16, how often the values of each image count.
        bounds: (B, P), -inf for no bound.

    Returns:
        (B, P) int64, 0 for no bound.
    """
    if values.device.type != "cpu":
        return count_batched(values, _spread(image_counts, images), bounds)
    # NumPy sorts plain numbers many times faster, and most values need no sorting
    owners, counts = images.numpy(), np.zeros(bounds.shape, dtype=np.int64)
    rows = zip(values.numpy(), image_counts, bounds.numpy(), strict=True)
    for count, (row, times, bound) in zip(counts, rows, strict=True):
        there = bound > _MISSING
        if there.any():
            near = np.flatnonzero(row >= bound[there].min())
            ordered = np.sort(np.repeat(row[near], times[owners[near]]))
            count[there] = len(ordered) - np.searchsorted(ordered, bound[there])
    return torch.from_numpy(counts)


def count_batched(values: torch.Tensor, times: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
    """Return `count_at_least` by sorting whole chunks, as suits a GPU.

    Args:
        values: (B, M) real numbers.
        times: (B, M) int16, how often each value counts.
        bounds: (B, P), -inf for no bound.
    """
    counts = torch.zeros_like(bounds, dtype=torch.int64)
    for copy in range(1, 1 + int(times.max() if times.numel() else 0)):
        ordered = values.masked_fill(times < copy, _MISSING).sort(dim=1).values
        counts += values.shape[1] - torch.searchsorted(ordered, bounds)
    return counts.masked_fill_(bounds == _MISSING, 0)


def iterate_similarities(
    predictions: Predictions, weights: np.ndarray | None, device: torch.device
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield chunks of queries with their similarities to all detections.

    The similarities reuse one buffer: they are valid until the next chunk.

    Args:
        predictions: predictions with Q queries and M detections.
        weights: (M,) factors of the similarities, None for ones.
        device: device for the computation.

    Yields:
        The slice of B queries, and (B, M) float32 similarities.
    """
    embeddings = torch.from_numpy(predictions.detections.values.embeddings).to(device)
    queries = torch.from_numpy(predictions.queries.embeddings).to(device)
    factors = None if weights is None else torch.from_numpy(weights).to(device)
    step = max(
        QUERIES_PER_CHUNK,
        SIMILARITIES_PER_CHUNK // max(1, len(embeddings), len(predictions.image_ids)),
    )
    rows = min(step, len(queries))
    products = torch.empty(rows + -rows % _BLOCK, len(embeddings), device=device)
    for start in range(0, len(queries), step):
        chunk = slice(start, min(start + step, len(queries)))
        block = queries[chunk]
        block = torch.nn.functional.pad(block, (0, 0, 0, -len(block) % _BLOCK))
        torch.mm(block, embeddings.T, out=products[: len(block)])
        similarities = products[: chunk.stop - start]
        yield chunk, similarities if factors is None else similarities.mul_(factors)


def count_gallery_images(protocol: SearchProtocol, queries: np.ndarray) -> np.ndarray:
    """Return (B, N) int16, how often each image is in the galleries of the queries (B,)."""
    counts = np.empty((len(queries), len(protocol.image_ids)), dtype=np.int16)
    for row, query in zip(counts, queries.tolist(), strict=True):
        row[:] = np.bincount(protocol.galleries.row(query), minlength=len(row))
    return counts


def _start_ranking(candidates: Candidates) -> PositiveRanks:
    counts, ranks = np.zeros((2, len(candidates.images.values)), dtype=np.int64)
    return PositiveRanks(candidates.images, counts, ranks)


def _spread(per_image: np.ndarray, images: torch.Tensor) -> torch.Tensor:
    """Return (B, M) values of the detections from those of the images (B, N)."""
    return torch.from_numpy(per_image).to(images.device).index_select(1, images)


def _rank_chunk(
    similarities: torch.Tensor,
    images: torch.Tensor,
    image_counts: np.ndarray,
    queries: np.ndarray,
    candidates: Candidates,
    out: PositiveRanks,
) -> None:
    """Write the ranks of some queries.

    Args:
        similarities: (B, M) of the queries.
        images: (M,) image of each detection.
        image_counts: (B, N) int16, how often each gallery lists each image.
        queries: (B,) rows of the protocol.
        candidates: candidates of all queries of the protocol.
        out: ranks of all queries; the rows of these queries are written.
    """
    query, target = candidates.images.expand(queries)
    column = target - candidates.images.offsets[queries][query]
    out.counts[target] = image_counts[query, candidates.images.values[target]]

    row, candidate = candidates.detections.expand(queries)
    shape = len(queries), 1 + int(column.max(initial=0))
    key = torch.from_numpy(row * shape[1] + candidates.columns[candidate]).to(similarities.device)
    detection = torch.from_numpy(candidates.detections.values[candidate]).to(key.device)
    best = similarities.new_full((shape[0] * shape[1],), _MISSING)
    mine = similarities[torch.from_numpy(row).to(key.device), detection]
    best.scatter_reduce_(0, key, mine, "amax")
    best = best.view(shape)

    ranks = count_at_least(similarities, images, image_counts, best)
    out.ranks[target] = ranks.cpu().numpy()[query, column]
