"""Two results of the same queries: which got better or worse, and whether the mAP differs.

Shape letters: Q queries.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clsa_search.errors import InputError
from clsa_search.evaluation.metrics import SearchResult

_DRAWS = 1 << 22  # of queries at a time


@dataclass(frozen=True)
class Comparison:
    """A second result minus a first one, query by query."""

    protocol: str
    query_ids: np.ndarray  # (Q,) int64
    first: np.ndarray  # (Q,) average precision in [0, 1]
    second: np.ndarray  # (Q,)
    low: float  # bounds of the confidence interval of the mAP difference, in percent
    high: float
    confidence: float  # that the interval is for

    @property
    def difference(self) -> float:
        """Of the mAP, in percent; NaN without queries."""
        return 100 * float((self.second - self.first).mean()) if len(self.first) else float("nan")

    def count(self) -> dict[str, int]:
        """How many queries got better, worse, and stayed as they were."""
        signs = np.sign(self.second - self.first)
        return {
            name: int((signs == sign).sum())
            for name, sign in (("better", 1), ("worse", -1), ("equal", 0))
        }

    def find_most_changed(self, count: int) -> np.ndarray:
        """Rows (at most count,) of the queries that changed, the most changed first.

        Of equally changed ones those that got worse stand first, then those that come first.
        """
        change = self.second - self.first
        order = np.lexsort((np.arange(len(change)), np.sign(change), -np.abs(change)))
        return order[change[order] != 0][:count]

    def describe(self) -> dict[str, Any]:
        """For JSON: the difference, its interval, and every query's average precision."""
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

    Queries are drawn with repetition, the same for both results, `samples` times; the interval
    holds the middle share `confidence` of the differences (Efron and Tibshirani, 1993, chapter 13).
    If it does not hold 0, the difference is hardly the luck of the queries.

    Raises:
        InputError: the results are of different queries.
    """
    if not np.array_equal(first.query_ids, second.query_ids):
        raise InputError(
            f"results under {first.protocol!r} and {second.protocol!r} are of different queries; "
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
    step = max(1, _DRAWS // count)
    sizes = [min(step, samples - start) for start in range(0, samples, step)]
    return np.concatenate(
        [values[rng.integers(0, count, (size, count))].mean(axis=1) for size in sizes]
    )
