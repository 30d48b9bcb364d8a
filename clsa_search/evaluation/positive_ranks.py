"""Average precision and first rank from where the positives stand; no similarity is needed.

Shape letters: Q queries, H sightings.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PositiveRanks:
    """The images (H) that hold a query's person, and where the positive of each was ranked."""

    query: np.ndarray  # (H,) rows of the queries, ascending
    image: np.ndarray  # (H,) positions in the protocol's image_ids
    times: np.ndarray  # (H,) int64, how often the gallery lists the image
    at_least: np.ndarray  # (H,) int64, detections as similar or more, itself among them; 0: none

    @property
    def found(self) -> np.ndarray:
        """How often each (H,) was found: `times`, or 0 without a positive."""
        return self.times * (self.at_least > 0)


def average_precision(
    sightings: PositiveRanks,
    query_count: int,
    *,
    selected: np.ndarray | None = None,
    lost: np.ndarray | None = None,
) -> np.ndarray:
    """Step-wise average precision (Q,) in [0, 1], times recall; 0 without targets.

    Args:
        sightings: of all queries.
        query_count: Q.
        selected: (H,) bool, the targets to find; the positives of others are left out of the
            ranking, neither right nor wrong. By default all.
        lost: (Q,) targets of which no sighting tells.
    """
    selected = np.ones(len(sightings.query)) if selected is None else selected
    wanted = sightings.found * selected
    right = _count_before(sightings, wanted)
    others = _count_before(sightings, sightings.found) - right
    precision = right / np.maximum(sightings.at_least - others, 1)
    targets = _sum(sightings, sightings.times * selected, query_count)
    targets = targets if lost is None else targets + lost
    return _sum(sightings, wanted * precision, query_count) / np.maximum(targets, 1)


def first_rank(sightings: PositiveRanks, query_count: int) -> np.ndarray:
    """Rank (Q,) int64 of the best positive from 1, after negatives that equal it; 0 for none."""
    found = sightings.found > 0
    rank = sightings.at_least - _count_before(sightings, sightings.found) + 1
    never = np.iinfo(np.int64).max
    first = np.full(query_count, never)
    np.minimum.at(first, sightings.query[found], rank[found])
    return np.where(first == never, 0, first)


def count_sightings(sightings: PositiveRanks, counts: np.ndarray, query_count: int) -> np.ndarray:
    """The sum (Q,) int64 of some count (H,) over each query's sightings."""
    return _sum(sightings, counts, query_count).astype(np.int64)


def _sum(sightings: PositiveRanks, values: np.ndarray, query_count: int) -> np.ndarray:
    # in the order of rank, so that rounding does not depend on the order of images
    order = np.lexsort((values, sightings.at_least, sightings.query))
    return np.bincount(sightings.query[order], weights=values[order], minlength=query_count)


def _count_before(sightings: PositiveRanks, counts: np.ndarray) -> np.ndarray:
    """For each (H,), the sum of counts over its query's positives as similar as it or more."""
    order = np.lexsort((sightings.at_least, sightings.query))
    query, at_least = sightings.query[order], sightings.at_least[order]
    total = np.concatenate([[0], np.cumsum(counts[order])])
    ends = np.append(np.flatnonzero(np.diff(query) | np.diff(at_least)), len(query) - 1)
    equals = np.searchsorted(ends, np.arange(len(query)))
    result = np.empty(len(query), dtype=np.int64)
    result[order] = total[ends[equals] + 1] - total[np.searchsorted(query, query)]
    return result
