"""k-reciprocal encoding: re-ranking by common nearest neighbors.

Shape letters: B queries, M detections, n re-ranked detections, D embedding width.
"""

from dataclasses import dataclass

import numpy as np
import torch

from clsa_search.evaluation.parameter_checks import K_RECIPROCAL_DEPTH, check_k_reciprocal
from clsa_search.evaluation.predictions import Predictions


@dataclass(frozen=True)
class KReciprocal:
    """Re-ranker by k-reciprocal encoding.

    The `depth` most similar detections of a query's gallery are re-ranked among themselves and the
    query. They stay before all others, and these keep their order. The new similarity is 1 - d*,
    d* = (1 - weight) * Jaccard distance + weight * d. Here d is half the squared distance of two
    embeddings (1 - similarity for unit rows), and the Jaccard distance compares their k-reciprocal
    encodings, averaged over `k2` neighbors. d* is rounded to 1e-9 to keep ties.

    Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR
    2017, equations 3 to 12 and their k1, k2 and weight (lambda). Neighbors come from the gallery,
    so its size matters. A detection is its own first neighbor; of equally distant ones the query
    comes first, then the more similar, then the first detection. The public program of the paper
    first divides each column of its matrix of squared distances by the column's maximum; the paper
    names no such step, and it is left out here.

    Args:
        k1: number of nearest neighbors, at least 1.
        k2: number of neighbors to average encodings over, at least 1.
        weight: share of the original distance, in [0, 1].
        depth: number of detections to re-rank per query, at least 1.

    Raises:
        InputError: a parameter is out of range.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3
    depth: int = K_RECIPROCAL_DEPTH

    def __post_init__(self) -> None:
        check_k_reciprocal(self.k1, self.k2, self.weight, self.depth)

    def __call__(
        self,
        similarities: torch.Tensor,
        in_gallery: torch.Tensor,
        predictions: Predictions,
        queries: np.ndarray,
        weights: np.ndarray | None,
    ) -> torch.Tensor:
        """Return new similarities; see `clsa_search.evaluation.reranking.Reranker`."""
        scores = similarities.double()
        device = scores.device
        result = scores - 4  # below 1 - d* >= -1
        for row, query in enumerate(queries.tolist()):
            best = self._choose_best(scores[row], in_gallery[row].nonzero()[:, 0])
            detections = best.cpu().numpy()
            found = predictions.detections.values.embeddings[detections]
            if weights is not None:
                found = found * weights[detections, None]
            embeddings = np.vstack([predictions.queries.embeddings[query], found])
            distances = self.rerank(torch.from_numpy(embeddings).to(device).double())
            result[row, best] = 1 - distances
        return result

    def rerank(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the (n,) distances d* between the first embedding and the others.

        Args:
            embeddings: (1 + n, D) float64.
        """
        count = len(embeddings)
        squares = embeddings.square().sum(dim=1)
        distances = (squares[:, None] + squares) / 2 - embeddings @ embeddings.T
        distances.fill_diagonal_(-1)  # every embedding is its own first neighbor
        order = distances.sort(dim=1, stable=True).indices
        distances.fill_diagonal_(0)
        near = _are_reciprocal(order, self.k1)
        half = _are_reciprocal(order, round(self.k1 / 2)).double()
        shared = near.double() @ half.T  # common neighbors
        grows = near & (3 * shared > 2 * half.sum(dim=1))
        expanded = near | (grows.double() @ half > 0)
        encoding = expanded * (-distances).exp()
        encoding /= encoding.sum(dim=1, keepdim=True)
        encoding = encoding[order[:, : min(self.k2, count)]].mean(dim=1)
        shared = torch.minimum(encoding[0], encoding[1:]).sum(dim=1)
        jaccard = 1 - shared / (2 - shared)
        return ((1 - self.weight) * jaccard + self.weight * distances[0, 1:]).round(decimals=9)

    def _choose_best(self, scores: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
        """Return the `depth` detections of a gallery with the highest scores (M,), best first."""
        found = scores[gallery]
        bound = found.topk(min(self.depth, len(found))).values[-1:]
        (near,) = torch.where(found >= bound)  # with all ties of the last; topk shuffles them
        order = found[near].sort(descending=True, stable=True).indices
        return gallery[near[order[: self.depth]]]


def _are_reciprocal(order: torch.Tensor, neighbors: int) -> torch.Tensor:
    """Mark (1 + n, 1 + n) reciprocal neighbors; an embedding does not count as its own."""
    near = torch.zeros_like(order, dtype=torch.bool)
    near.scatter_(1, order[:, : neighbors + 1], True)
    return near & near.T
