"""Comparison of two results for the same queries, with a confidence interval of the mAP difference.

Shape letters: Q queries.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clsa_search.errors import InputError
from clsa_search.evaluation.search_result import SearchResult

_SAMPLES = 1 << 22  # sampled queries at a time


@dataclass(frozen=True)
class Comparison:
    """Two results under one protocol, query by query.

    Args:
        protocol: name of the protocol.
        query_ids: (Q,) int64.
        first: (Q,) average precision of the first result, in [0, 1].
        second: (Q,) average precision of the second result.
        low: lower bound of the confidence interval of the mAP difference, in percent.
        high: upper bound.
        confidence: probability of the interval.
    """

    protocol: str
    query_ids: np.ndarray
    first: np.ndarray
    second: np.ndarray
    low: float
    high: float
    confidence: float

    @property
    def difference(self) -> float:
        """Difference in mAP, second minus first result, in percent; NaN without queries."""
        return 100 * float((self.second - self.first).mean()) if len(self.first) else float("nan")

    def count(self) -> dict[str, int]:
        """Return the numbers of queries with a better, worse and equal second result."""
        signs = np.sign(self.second - self.first)
        return {
            name: int((signs == sign).sum())
            for name, sign in (("better", 1), ("worse", -1), ("equal", 0))
        }

    def find_most_changed(self, count: int) -> np.ndarray:
        """Return the rows of at most `count` changed queries, the largest change first.

        Of equal changes, worse queries come first, then lower rows.
        """
        change = self.second - self.first
        order = np.lexsort((np.arange(len(change)), np.sign(change), -np.abs(change)))
        return order[change[order] != 0][:count]

    def describe(self) -> dict[str, Any]:
        """Return the comparison for JSON, with the average precision of every query."""
        columns = self.query_ids, self.first, self.second
        rows = zip(*(column.tolist() for column in columns), strict=True)
        names = ("query_id", "before", "now")
        return {
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "confidence": self.confidence,
            **self.count(),
            "per_query": [dict(zip(names, row, strict=True)) for row in rows],
        }


def compare_results(
    first: SearchResult,
    second: SearchResult,
    *,
    confidence: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two results, with a paired bootstrap of the mAP difference.

    Queries are sampled with repetition, the same for both results. The interval holds the middle
    share `confidence` of the differences (Efron and Tibshirani, 1993, chapter 13). If the interval
    excludes 0, the difference is hardly due to the choice of queries.

    Args:
        first: result to compare with.
        second: new result.
        confidence: probability of the interval.
        samples: number of bootstrap samples.
        seed: seed of the bootstrap.

    Raises:
        InputError: the results have different queries.
    """
    if not np.array_equal(first.query_ids, second.query_ids):
        raise InputError(
            f"results under {first.protocol!r} and {second.protocol!r} have different queries; "
            "expected two results under one protocol"
        )
    change = second.average_precision - first.average_precision
    means = _bootstrap_means(change, samples, np.random.default_rng(seed))
    outside = (1 - confidence) / 2
    low, high = np.quantile(means, [outside, 1 - outside]) if len(means) else (np.nan, np.nan)
    return Comparison(
        protocol=first.protocol,
        query_ids=first.query_ids,
        first=first.average_precision,
        second=second.average_precision,
        low=100 * float(low),
        high=100 * float(high),
        confidence=confidence,
    )


def _bootstrap_means(values: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    count = len(values)
    if count == 0:
        return np.zeros(0)
    step = max(1, _SAMPLES // count)
    sizes = [min(step, samples - start) for start in range(0, samples, step)]
    return np.concatenate(
        [values[rng.integers(0, count, (size, count))].mean(axis=1) for size in sizes]
    )
