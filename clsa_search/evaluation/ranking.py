"""Where the positives of many queries stand in their galleries, by counting.

The average precision needs, for each positive, only how many detections and how many positives are
at least as similar. So a gallery's similarities are sorted as plain numbers, and the few positives
looked up in them.

Shape letters: Q queries, B of them in a chunk, N images, M detections sorted by image, P places
(the most images that hold one query's person), H holders and K candidates of all queries.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from clsa_search.evaluation.matching import pair_boxes, target_threshold
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import SearchProtocol

_CHUNK = 1 << 22  # similarities at a time: what is made of them stays under about 100 MB
_MISSING = -float("inf")  # similarity of a positive that is not there
_NEVER = 1 << 62  # rank of one


@dataclass(frozen=True)
class Candidates:
    """Holders: the images that hold a query's person, numbered 0, 1, ... (`place`) for each query.

    Candidates: the detections that lie on the person there. Both are sorted by query.
    """

    holder_query: np.ndarray  # (H,)
    holder_place: np.ndarray  # (H,)
    holder_image: np.ndarray  # (H,)
    query: np.ndarray  # (K,)
    place: np.ndarray  # (K,)
    detection: np.ndarray  # (K,)

    def holders(self, chunk: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(query from the chunk's start, place, image) of the holders of the chunk's queries."""
        rows = slice(*np.searchsorted(self.holder_query, (chunk.start, chunk.stop)))
        query = self.holder_query[rows] - chunk.start
        return query, self.holder_place[rows], self.holder_image[rows]

    def detections(self, chunk: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(query from the chunk's start, place, detection) of the chunk's candidates."""
        rows = slice(*np.searchsorted(self.query, (chunk.start, chunk.stop)))
        return self.query[rows] - chunk.start, self.place[rows], self.detection[rows]


class QueryRanks(NamedTuple):
    """What `SearchResult` says of each query (Q)."""

    average_precision: np.ndarray  # (Q,) float64
    first_rank: np.ndarray  # (Q,) int64
    targets: np.ndarray  # (Q,) int64
    found: np.ndarray  # (Q,) int64


def find_candidates(predictions: Predictions, protocol: SearchProtocol) -> Candidates:
    """Compare the target boxes with the detections of their images; no similarity comes in.

    Args:
        predictions: aligned with the protocol: its images and queries, in its order.
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


def rank_queries(
    predictions: Predictions, protocol: SearchProtocol, candidates: Candidates, device: torch.device
) -> QueryRanks:
    """Rank the gallery of every query, a chunk of queries at a time.

    Args:
        predictions: aligned with the protocol.
        protocol: its galleries are used.
        candidates: of the same two.
        device: where the similarities are computed and sorted.
    """
    images = np.repeat(np.arange(len(protocol.image_ids)), np.diff(predictions.offsets))
    images = torch.from_numpy(images).to(device)
    features = torch.from_numpy(predictions.features).to(device)
    queries = torch.from_numpy(predictions.query_features).to(device)
    step = max(1, _CHUNK // max(1, len(images), len(protocol.image_ids)))
    chunks = []
    for start in range(0, max(1, len(queries)), step):
        chunk = slice(start, min(start + step, len(queries)))
        similarities = queries[chunk] @ features.T
        listings = _count_listings(protocol, chunk).to(device)
        found, times = _place_positives(similarities, listings, candidates, chunk)
        # floats, because torch gathers those quickest
        listed = listings.float().index_select(1, images)
        chunks.append(_rank_positives(similarities, listed, found, times))
    return QueryRanks(*(torch.cat(column).cpu().numpy() for column in zip(*chunks, strict=True)))


def count_at_least(values: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
    """How many of a row's values (B, M) are at least each of its bounds (B, P); int64 (B, P)."""
    if values.device.type == "cpu":  # NumPy's sort of plain numbers is many times quicker here
        ordered = torch.from_numpy(np.sort(values.numpy(), axis=1))
    else:
        ordered = values.sort(dim=1).values
    return values.shape[1] - torch.searchsorted(ordered, bounds)


def average_precision(
    found: torch.Tensor, times: torch.Tensor, at_least: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Step-wise average precision, (B,) float64 in [0, 1], times recall; 0 without targets.

    Args:
        found: (B, P) values of the positives, rising.
        times: (B, P) int64, how often each counts; 0 for one that is not there.
        at_least: (B, P) int64, how many results, positives among them, have that value or more.
        targets: (B,) int64, how many positives there should be.
    """
    precision = _positives_at_least(found, times) / at_least.clamp(min=1).double()
    return (times * precision).sum(dim=1) / targets.clamp(min=1)


def _count_listings(protocol: SearchProtocol, chunk: slice) -> torch.Tensor:
    """How often each image (N) is in the gallery of each query (B); int64."""
    offsets = protocol.gallery_offsets[chunk.start : chunk.stop + 1]
    shape = (chunk.stop - chunk.start, len(protocol.image_ids))
    query = np.repeat(np.arange(shape[0]), np.diff(offsets))
    key = query * shape[1] + protocol.gallery_images[offsets[0] : offsets[-1]]
    return torch.from_numpy(np.bincount(key, minlength=shape[0] * shape[1]).reshape(shape))


def _place_positives(
    similarities: torch.Tensor, listings: torch.Tensor, candidates: Candidates, chunk: slice
) -> tuple[torch.Tensor, torch.Tensor]:
    """The positives' similarities (B, P) and how often the image of each is listed (B, P).

    Similarities rise; those of positives that are not there are -inf.

    Args:
        similarities: (B, M).
        listings: (B, N) int64.
        candidates: of all queries.
        chunk: the queries at hand.
    """
    shape = len(similarities), 1 + int(candidates.holder_place.max(initial=0))
    query, place, image = candidates.holders(chunk)
    times = listings.new_zeros(shape)
    times[query, place] = listings[query, image]
    query, place, detection = candidates.detections(chunk)
    found = similarities.new_full((shape[0] * shape[1],), _MISSING)
    key = torch.from_numpy(query * shape[1] + place).to(found.device)
    found.scatter_reduce_(0, key, similarities[query, detection], "amax")
    found, order = found.view(shape).sort(dim=1)
    return found, times.gather(1, order)


def _rank_positives(
    similarities: torch.Tensor, listed: torch.Tensor, found: torch.Tensor, times: torch.Tensor
) -> QueryRanks:
    """Ranks of a chunk from its similarities (B, M) and how often each is in the gallery (B, M)."""
    targets = times.sum(dim=1)
    times = times.masked_fill(found == _MISSING, 0)
    at_least = torch.zeros_like(times)
    for copies in range(1, 1 + int(listed.max() if listed.numel() else 0)):
        at_least += count_at_least(similarities.masked_fill(listed < copies, _MISSING), found)
    rank = at_least - _positives_at_least(found, times) + 1
    first = rank.masked_fill(times == 0, _NEVER).amin(dim=1)
    return QueryRanks(
        average_precision=average_precision(found, times, at_least, targets),
        first_rank=first.masked_fill(first == _NEVER, 0),
        targets=targets,
        found=times.sum(dim=1),
    )


def _positives_at_least(found: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """How many positives, each counted `times` (B, P), have the value of each or more (B, P)."""
    from_here_on = times.flip(1).cumsum(dim=1).flip(1)
    return from_here_on.gather(1, torch.searchsorted(found, found))  # from the first of equals
