"""Similarities of a query's gallery made anew from how the detections stand to each other.

Both are options, off by default, and change nothing outside the gallery of the query at hand.

Shape letters: B queries, M detections, N images, D width of a embedding; E pairs of a query and an
image to match, L detections in the fullest of these images, k people of a query's context.
"""

import itertools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from clsa_search.errors import InputError
from clsa_search.evaluation.box_matching import pair_boxes
from clsa_search.evaluation.predictions import Predictions, expand_ranges

MAX_CONTEXT = 5  # people; matchings to compare grow as k2 ** k2
CONTEXT_OVERLAP = 0.5  # IoU with the query above which a detection is the query; SeqNet's NMS
_NONE = -float("inf")


class Reranker(Protocol):
    """Replaces similarities; an instance holds the parameters."""

    def __call__(
        self,
        similarities: torch.Tensor,
        listed: torch.Tensor,
        predictions: Predictions,
        queries: np.ndarray,
        weights: np.ndarray | None,
    ) -> torch.Tensor:
        """
        Args:
            similarities: (B, M).
            listed: (B, M) bool, the detections in the gallery of each query.
            predictions: the detections, sorted by image, and queries.
            queries: (B,) rows of the predictions' queries.
            weights: (M,) of the detections, which the similarities hold already; None: ones.

        Returns:
            float64 (B, M), of which what is not listed means nothing.
        """


@dataclass(frozen=True)
class CBGM:
    """Context bipartite graph matching: people who appear together find each other.

    For the images that hold the `k1` most similar detections of a gallery, the query and the people
    about it are matched one to one with the image's detections so that the similarities add up to
    the most. The detection that the query is matched with gets the largest similarity of all the
    matched pairs as its own: somebody who comes with a sure companion is sure too.

    Source: Li and Miao, "Sequential End-to-end Network for Efficient Person Search", AAAI 2021,
    section 3.4, as their program and COAT's do it (`get_max_value_result` of utils/km.py; a sum of
    the pairs is commented out there). They use k1 = 10, k2 = 3 on CUHK-SYSU and k1 = 30, k2 = 4 on
    PRW. Where similarities are weighted by score, that is the score of the gallery's detection;
    the query and its context are not weighted, as in that program.

    The query's context are the k2 - 1 detections of highest score in its own image, of those that
    overlap it by an IoU of at most 0.5. Detections that are as similar as the k1-th count with it;
    of equal scores the first detection is taken, of equal sums the matching that gives the query
    the image's first detection, and of those the one with the largest similarity.
    """

    k1: int
    k2: int

    def __post_init__(self) -> None:
        if self.k1 < 1 or not 1 <= self.k2 <= MAX_CONTEXT:
            raise InputError(
                f"CBGM: k1, k2 are {self.k1}, {self.k2}; "
                f"expected k1 from 1 and k2 from 1 to {MAX_CONTEXT}"
            )

    def __call__(
        self,
        similarities: torch.Tensor,
        listed: torch.Tensor,
        predictions: Predictions,
        queries: np.ndarray,
        weights: np.ndarray | None,
    ) -> torch.Tensor:
        scores = similarities.double()
        if not listed.any():
            return scores
        query, image = self._choose_images(scores, listed, predictions)
        context = self._find_context(predictions, queries)
        edges, real = _build_edges(scores, query, image, context, predictions, weights)
        largest, column = match_best(edges, real)
        found = real[:, 0].gather(1, column[:, None])[:, 0]
        first = torch.from_numpy(predictions.offsets[image]).to(column.device)
        query = torch.from_numpy(query).to(column.device)
        scores[query[found], (first + column)[found]] = largest[found]
        return scores

    def _choose_images(
        self, scores: torch.Tensor, listed: torch.Tensor, predictions: Predictions
    ) -> tuple[np.ndarray, np.ndarray]:
        """(query, image) pairs (E,) to match."""
        gallery = scores.masked_fill(~listed, _NONE)
        bound = gallery.topk(min(self.k1, gallery.shape[1])).values[:, -1:]
        query, detection = (listed & (gallery >= bound)).nonzero().T.cpu().numpy()
        image = np.searchsorted(predictions.offsets, detection, side="right") - 1
        count = len(predictions.image_ids)
        return np.divmod(np.unique(query * count + image), count)

    def _find_context(self, predictions: Predictions, queries: np.ndarray) -> np.ndarray:
        """Detections (B, k2 - 1) about each query, -1 where there are no more."""
        names = {name: i for i, name in enumerate(predictions.image_ids.tolist())}
        images = [names.get(name, -1) for name in predictions.query_image_ids[queries].tolist()]
        images = np.array(images, dtype=np.int64)
        (there,) = np.nonzero(images >= 0)
        boxes = predictions.query_boxes[queries[there]].astype(np.float64)
        query, detection, iou = pair_boxes(
            images[there], boxes, predictions.offsets, predictions.boxes
        )
        apart = iou <= CONTEXT_OVERLAP
        query, detection = there[query[apart]], detection[apart]
        order = np.lexsort((detection, -predictions.scores[detection], query))
        query, detection = query[order], detection[order]
        place = np.arange(len(query)) - np.searchsorted(query, query)
        context = np.full((len(queries), self.k2 - 1), -1)
        near = place < self.k2 - 1
        context[query[near], place[near]] = detection[near]
        return context


@dataclass(frozen=True)
class KReciprocal:
    """k-reciprocal encoding: who has the same neighbors is the same person.

    The `depth` most similar detections of a query's gallery are ranked anew, among themselves and
    the query, and stay before all others, which keep their order. Their similarity becomes 1 - d*,
    d* = (1 - weight) * Jaccard distance + weight * d, where d is half the squared distance of two
    embeddings (1 - similarity, for unit ones) and the Jaccard distance that of their k-reciprocal
    features, expanded over `k2` neighbors. d* is rounded to 1e-9, so that what is equal stays so.

    Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR
    2017, equations 3 to 12 and their k1, k2 and weight (lambda). Neighbors are those of the
    gallery, so the size of a gallery matters. A detection is the first of its own neighbors; of
    equally distant ones the query comes first, then the more similar, then the first detection.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3
    depth: int = 200

    def __post_init__(self) -> None:
        counts = self.k1, self.k2, self.depth
        whole = all(isinstance(count, int) and count >= 1 for count in counts)
        if not (whole and 0 <= self.weight <= 1):
            raise InputError(
                f"k-reciprocal re-ranking: k1, k2, weight, depth are {self.k1}, {self.k2}, "
                f"{self.weight}, {self.depth}; expected whole numbers from 1, weight from 0 to 1"
            )

    def __call__(
        self,
        similarities: torch.Tensor,
        listed: torch.Tensor,
        predictions: Predictions,
        queries: np.ndarray,
        weights: np.ndarray | None,
    ) -> torch.Tensor:
        scores = similarities.double()
        device = scores.device
        result = scores - 4  # below 1 - d*, which is at least -1
        for row, query in enumerate(queries.tolist()):
            best = self._choose_best(scores[row], listed[row].nonzero()[:, 0])
            rows = best.cpu().numpy()
            found = predictions.features[rows]
            if weights is not None:
                found = found * weights[rows, None]
            features = np.vstack([predictions.query_embeddings[query], found])
            distances = self.rank_anew(torch.from_numpy(features).to(device).double())
            result[row, best] = 1 - distances
        return result

    def _choose_best(self, scores: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
        """The `depth` detections of a gallery with the highest scores (M,), best first."""
        found = scores[gallery]
        bound = found.topk(min(self.depth, len(found))).values[-1:]
        (near,) = torch.where(found >= bound)  # all that are equal to the last, which topk mixes
        order = found[near].sort(descending=True, stable=True).indices
        return gallery[near[order[: self.depth]]]

    def rank_anew(self, features: torch.Tensor) -> torch.Tensor:
        """d* (n,) between the first of the embeddings (1 + n, D) and the others."""
        count = len(features)
        squares = features.square().sum(dim=1)
        distances = (squares[:, None] + squares) / 2 - features @ features.T
        distances.fill_diagonal_(-1)  # one's own first neighbor
        order = distances.sort(dim=1, stable=True).indices
        distances.fill_diagonal_(0)
        near = self._are_reciprocal(order, self.k1)
        half = self._are_reciprocal(order, round(self.k1 / 2)).double()
        shared = near.double() @ half.T  # neighbors of the second that are the first's as well
        grows = near & (3 * shared > 2 * half.sum(dim=1))
        expanded = near | (grows.double() @ half > 0)
        encoding = expanded * (-distances).exp()
        encoding /= encoding.sum(dim=1, keepdim=True)
        encoding = encoding[order[:, : min(self.k2, count)]].mean(dim=1)
        shared = torch.minimum(encoding[0], encoding[1:]).sum(dim=1)
        jaccard = 1 - shared / (2 - shared)
        return ((1 - self.weight) * jaccard + self.weight * distances[0, 1:]).round(decimals=9)

    def _are_reciprocal(self, order: torch.Tensor, neighbors: int) -> torch.Tensor:
        """Whether two are among each other's neighbors, themselves not counted; bool (n, n)."""
        near = torch.zeros_like(order, dtype=torch.bool)
        near.scatter_(1, order[:, : neighbors + 1], True)
        return near & near.T


def match_best(edges: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The best one-to-one matchings of rows with columns, by the sum of their edges.

    Only the k best columns of each of the k rows can matter: whatever the others take, one of them
    is left. So all k ** k ways to choose among those are compared.

    Args:
        edges: (E, k, L) with k <= L.
        real: bool (E, k, L), false where a row or a column only stands in; real columns come first.

    Returns:
        The largest real edges (E,) of the matchings and the first row's columns (E,). Of equal
        sums the lowest such column, then the largest such edge.
    """
    rows = edges.shape[1]
    values, columns = edges.sort(dim=2, descending=True, stable=True)
    worth = values.masked_fill(~real.gather(2, columns), _NONE)
    choices = torch.tensor([*itertools.product(range(rows), repeat=rows)], device=edges.device)
    total, column = torch.zeros_like(edges[:, 0, :1]), []
    largest, clash = total + _NONE, total < 0
    for row, choice in enumerate(choices.T):
        mine = columns[:, row, choice]
        for other in column:
            clash = clash | (mine == other)
        total = total + values[:, row, choice]
        largest = torch.maximum(largest, worth[:, row, choice])
        column.append(mine)
    total = total.masked_fill(clash, _NONE)
    worse = clash | (total < total.amax(dim=1, keepdim=True))
    lowest = column[0].masked_fill(worse, edges.shape[2]).amin(dim=1)
    worse = worse | (column[0] > lowest[:, None])
    return largest.masked_fill(worse, _NONE).amax(dim=1), lowest


def _build_edges(
    scores: torch.Tensor,
    query: np.ndarray,
    image: np.ndarray,
    context: np.ndarray,
    predictions: Predictions,
    weights: np.ndarray | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Similarities of each query and its context with the detections of an image.

    Where one side has fewer, its missing partners stand in with 0.

    Returns:
        float64 (E, k, L), and bool (E, k, L), which of them do not stand in.
    """
    first, counts = predictions.offsets[image], np.diff(predictions.offsets)[image]
    people, size = 1 + (context[query] >= 0).sum(axis=1), 1 + context.shape[1]
    columns = np.arange(max(counts.max(), size))
    edges = np.where(columns < np.maximum(counts, people)[:, None], 0.0, _NONE)
    edges = np.repeat(edges[:, None], size, axis=1)
    there = np.arange(size) < people[:, None]
    edges[~there] = 0
    pair, detection = expand_ranges(first, counts)
    column = detection - first[pair]
    edges[pair, 0, column] = scores[query[pair], detection].cpu().numpy()
    for place in range(1, size):
        mine = there[pair, place]
        found, other = detection[mine], context[query[pair[mine]], place - 1]
        product = np.einsum("fd,fd->f", predictions.features[other], predictions.features[found])
        if weights is not None:
            product = product * weights[found]
        edges[pair[mine], place, column[mine]] = product
    real = there[:, :, None] & (columns < counts[:, None])[:, None]
    return torch.from_numpy(edges).to(scores.device), torch.from_numpy(real).to(scores.device)
