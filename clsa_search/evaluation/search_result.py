"""Result of a search protocol, query by query.

Shape letters: Q queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clsa_search.evaluation.positive_ranks import PositiveRanks

TOP_K = (1, 5, 10)


@dataclass(frozen=True)
class SearchResult:
    """Metrics of each query under a protocol; `clsa_search.evaluation.metrics` defines them.

    Args:
        protocol: name of the protocol.
        query_ids: (Q,) int64.
        average_precision: (Q,) float64 in [0, 1], recall included.
        first_rank: (Q,) int64 rank of the best positive from 1, after tied negatives; 0 for none.
        targets: (Q,) int64 number of target images.
        found: (Q,) int64 number of target images with a positive.
        positives: rank of the positive in every target image.
    """

    protocol: str
    query_ids: np.ndarray
    average_precision: np.ndarray
    first_rank: np.ndarray
    targets: np.ndarray
    found: np.ndarray
    positives: PositiveRanks

    def metrics(self, top_k: Sequence[int] = TOP_K) -> dict[str, float]:
        """Return the means over the queries in percent, mAP and top<k>; NaN without queries."""
        values = {"mAP": self.average_precision}
        for k in top_k:
            values[f"top{k}"] = (self.first_rank > 0) & (self.first_rank <= k)
        return {name: _percent(value) for name, value in values.items()}

    def per_query(self) -> list[dict[str, float]]:
        """Return one dict per query for JSON, with the fields above and `query_id`."""
        columns = {
            "query_id": self.query_ids,
            "average_precision": self.average_precision,
            "first_rank": self.first_rank,
            "targets": self.targets,
            "found": self.found,
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]


def _percent(values: np.ndarray) -> float:
    return 100 * float(values.mean()) if len(values) else float("nan")
