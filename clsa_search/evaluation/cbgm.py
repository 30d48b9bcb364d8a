"""Context bipartite graph matching: re-ranking by companions of the query.

Shape letters: B queries, M detections, E pairs of a query and an image to match, L detections in
the fullest of these images, k members of a query's context, itself included.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from clsa_search.evaluation.box_matching import pair_boxes
from clsa_search.evaluation.parameter_checks import check_cbgm
from clsa_search.evaluation.predictions import Predictions

CONTEXT_OVERLAP = 0.5
"""Largest IoU of a context detection with the query box (SeqNet's NMS)."""

_NONE = -float("inf")


@dataclass(frozen=True)
class CBGM:
    """Re-ranker by context bipartite graph matching.

    It takes the images of the `k1` most similar detections of a gallery. In each, the query and its
    context are matched one to one with the detections, for the largest sum of similarities. The
    detection matched with the query gets the largest similarity of all matched pairs.

    Source: Li and Miao, "Sequential End-to-end Network for Efficient Person Search", AAAI 2021,
    section 3.4, as implemented in SeqNet and COAT (`get_max_value_result` of utils/km.py, with the
    sum of the pairs commented out). They use k1 = 10, k2 = 3 on CUHK-SYSU and k1 = 30, k2 = 4 on
    PRW. Similarities weighted by score use the score of the gallery's detection; the query and its
    context have no weight, as in that code.

    The context of a query are the k2 - 1 detections of highest score in its own image with an IoU
    of at most 0.5 with the query box. Ties of the k1-th detection are included. Of equal scores the
    first detection is taken; of equal sums, the matching with the first detection for the query,
    then the one with the largest similarity.

    Args:
        k1: number of most similar detections for the choice of images, at least 1.
        k2: number of members of the context, the query included, from 1 to 5.

    Raises:
        InputError: a parameter is out of range.
    """

    k1: int
    k2: int

    def __post_init__(self) -> None:
        check_cbgm(self.k1, self.k2)

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
        if not in_gallery.any():
            return scores
        query, image = self._choose_images(scores, in_gallery, predictions)
        context = self._find_context(predictions, queries)
        edges, real = _build_edges(scores, query, image, context, predictions, weights)
        largest, column = match_best(edges, real)
        found = real[:, 0].gather(1, column[:, None])[:, 0]
        first = torch.from_numpy(predictions.detections.offsets[image]).to(column.device)
        rows = torch.from_numpy(query).to(column.device)
        scores[rows[found], (first + column)[found]] = largest[found]
        return scores

    def _choose_images(
        self, scores: torch.Tensor, in_gallery: torch.Tensor, predictions: Predictions
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the (E,) queries and (E,) images to match."""
        gallery = scores.masked_fill(~in_gallery, _NONE)
        bound = gallery.topk(min(self.k1, gallery.shape[1])).values[:, -1:]
        query, detection = (in_gallery & (gallery >= bound)).nonzero().T.cpu().numpy()
        image = np.searchsorted(predictions.detections.offsets, detection, side="right") - 1
        count = len(predictions.image_ids)
        return np.divmod(np.unique(query * count + image), count)

    def _find_context(self, predictions: Predictions, queries: np.ndarray) -> np.ndarray:
        """Return (B, k2 - 1) detections in the context of each query, -1 for none."""
        names = {name: i for i, name in enumerate(predictions.image_ids.tolist())}
        given = predictions.queries[queries]
        images = np.array([names.get(name, -1) for name in given.image_ids.tolist()], np.int64)
        (known,) = np.nonzero(images >= 0)
        boxes = given.boxes[known].astype(np.float64)
        query, detection, iou = pair_boxes(images[known], boxes, predictions.detections)
        apart = iou <= CONTEXT_OVERLAP
        query, detection = known[query[apart]], detection[apart]
        order = np.lexsort((detection, -predictions.detections.values.scores[detection], query))
        query, detection = query[order], detection[order]
        rank = np.arange(len(query)) - np.searchsorted(query, query)
        context = np.full((len(queries), self.k2 - 1), -1)
        best = rank < self.k2 - 1
        context[query[best], rank[best]] = detection[best]
        return context


def match_best(edges: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the one-to-one matchings of rows and columns with the largest sum of edges.

    Only the k best columns of each of the k rows can matter: whatever the other rows take, one of
    them is left. So all k ** k choices among those are compared.

    Args:
        edges: (E, k, L) similarities, k <= L.
        real: (E, k, L) bool, False for padded rows and columns; real columns come first.

    Returns:
        (E,) largest real edge of each matching, and (E,) column of its first row. Of equal sums the
        lowest such column, then the largest such edge.
    """
    rows = edges.shape[1]
    values, columns = edges.sort(dim=2, descending=True, stable=True)
    worth = values.masked_fill(~real.gather(2, columns), _NONE)
    choices = torch.tensor([*itertools.product(range(rows), repeat=rows)], device=edges.device)
    total, column = torch.zeros_like(edges[:, 0, :1]), list[torch.Tensor]()
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
    """Compute the similarities of each query and its context with the detections of an image.

    The side with fewer members or detections is padded with edges of 0.

    Returns:
        (E, k, L) float64 edges, and (E, k, L) bool, False for padding.
    """
    embeddings = predictions.detections.values.embeddings
    counts = predictions.detections.lengths[image]
    members, size = 1 + (context[query] >= 0).sum(axis=1), 1 + context.shape[1]
    columns = np.arange(max(counts.max(), size))
    edges = np.where(columns < np.maximum(counts, members)[:, None], 0.0, _NONE)
    edges = np.repeat(edges[:, None], size, axis=1)
    known = np.arange(size) < members[:, None]
    edges[~known] = 0
    pair, detection = predictions.detections.expand(image)
    column = detection - predictions.detections.offsets[image][pair]
    edges[pair, 0, column] = scores[query[pair], detection].cpu().numpy()
    for row in range(1, size):
        mine = known[pair, row]
        found, other = detection[mine], context[query[pair[mine]], row - 1]
        product = np.einsum("fd,fd->f", embeddings[other], embeddings[found])
        if weights is not None:
            product = product * weights[found]
        edges[pair[mine], row, column[mine]] = product
    real = known[:, :, None] & (columns < counts[:, None])[:, None]
    return torch.from_numpy(edges).to(scores.device), torch.from_numpy(real).to(scores.device)
