"""Interface of re-rankers: they replace the similarities of a query's gallery.

Shape letters: B queries, M detections sorted by image.
"""

from typing import Protocol

import numpy as np
import torch

from clsa_search.evaluation.predictions import Predictions


class Reranker(Protocol):
    """Replacement of similarities; an instance holds the parameters."""

    def __call__(
        self,
        similarities: torch.Tensor,
        in_gallery: torch.Tensor,
        predictions: Predictions,
        queries: np.ndarray,
        weights: np.ndarray | None,
    ) -> torch.Tensor:
        """Return new similarities.

        Args:
            similarities: (B, M) float32, weighted.
            in_gallery: (B, M) bool, the detections in the gallery of each query.
            predictions: predictions with M detections.
            queries: (B,) rows of the predictions' queries.
            weights: (M,) factors, already contained in the similarities; None for ones.

        Returns:
            (B, M) float64; values outside the gallery have no meaning.
        """
        ...
