"""Average precision and first rank from the ranks of positives, without similarities.

Shape letters: Q queries, H target images over all queries.
"""

from dataclasses import dataclass

import numpy as np

from clsa_search.structures import Ragged


@dataclass(frozen=True)
class PositiveRanks:
    """Rank of the positive in every target image.

    Args:
        images: Q rows, (H,) positions in the protocol's `image_ids`, ascending in each row.
        counts: (H,) int64, how often the gallery lists the image.
        ranks: (H,) int64, number of gallery detections with at least the positive's similarity,
            itself included; 0 without a positive.
    """

    images: Ragged[np.ndarray]
    counts: np.ndarray
    ranks: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """(H,) number of positives: `counts`, or 0 without a positive."""
        return self.counts * (self.ranks > 0)


def average_precision(
    positives: PositiveRanks,
    *,
    selected: np.ndarray | None = None,
    unsearched: np.ndarray | None = None,
) -> np.ndarray:
    """Return (Q,) step-wise average precision times recall, in [0, 1]; 0 without targets.

    Args:
        positives: ranks of all queries.
        selected: (H,) bool, the targets to find; positives in other images are left out of the
            ranking, neither right nor wrong. None for all.
        unsearched: (Q,) int64, further targets of each query, not found.
    """
    chosen = np.ones(len(positives.ranks)) if selected is None else selected
    wanted = positives.found * chosen
    right = _count_up_to(positives, wanted)
    others = _count_up_to(positives, positives.found) - right
    precision = right / np.maximum(positives.ranks - others, 1)
    targets = _sum(positives, positives.counts * chosen)
    targets = targets if unsearched is None else targets + unsearched
    return _sum(positives, wanted * precision) / np.maximum(targets, 1)


def first_rank(positives: PositiveRanks) -> np.ndarray:
    """Return (Q,) int64 rank of the best positive, from 1, after tied negatives; 0 without one."""
    found = positives.found > 0
    ranks = positives.ranks - _count_up_to(positives, positives.found) + 1
    never = np.iinfo(np.int64).max
    first = np.full(len(positives.images), never)
    np.minimum.at(first, positives.images.owners[found], ranks[found])
    return np.where(first == never, 0, first)


def sum_by_query(positives: PositiveRanks, counts: np.ndarray) -> np.ndarray:
    """Return the (Q,) int64 sums of counts (H,) over the target images of each query."""
    return _sum(positives, counts).astype(np.int64)


def _sum(positives: PositiveRanks, values: np.ndarray) -> np.ndarray:
    # sorted by rank: rounding is independent of the order of images
    query = positives.images.owners
    order = np.lexsort((values, positives.ranks, query))
    return np.bincount(query[order], weights=values[order], minlength=len(positives.images))


def _count_up_to(positives: PositiveRanks, counts: np.ndarray) -> np.ndarray:
    """Return (H,) sums of counts over the query's positives of the same or a better rank."""
    owners = positives.images.owners
    order = np.lexsort((positives.ranks, owners))
    query, ranks = owners[order], positives.ranks[order]
    total = np.concatenate([[0], np.cumsum(counts[order])])
    ends = np.append(np.flatnonzero(np.diff(query) | np.diff(ranks)), len(query) - 1)
    ties = np.searchsorted(ends, np.arange(len(query)))
    result = np.empty(len(query), dtype=np.int64)
    result[order] = total[ends[ties] + 1] - total[np.searchsorted(query, query)]
    return result
