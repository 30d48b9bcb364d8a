"""Options of detections and similarities, shared by all rankings.

Shape letters: M detections.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clsa_search.errors import InputError
from clsa_search.evaluation.compat import COMPATIBILITIES, build_seqnet_protocol
from clsa_search.evaluation.predictions import Predictions
from clsa_search.evaluation.protocol import SearchProtocol, build_protocol
from clsa_search.evaluation.reranking import Reranker
from clsa_search.structures import DEFAULT_SCORE_THRESHOLD


@dataclass(frozen=True)
class SearchOptions:
    """Options of an evaluation; the defaults are the semantics of the benchmarks.

    Args:
        score_threshold: detections with a lower score are dropped, in [0, 1].
        weight_by_score: multiply similarities by the detection score (Chen et al., "Norm-Aware
            Embedding for Efficient Person Search", CVPR 2020; SeqNet and COAT do so too).
        reranker: replaces the similarities of a gallery (`clsa_search.evaluation.reranking`).
        compat: "seqnet" for the numbers of its code base (`clsa_search.evaluation.compat`). It
            sets `weight_by_score`, and needs protocols built with `build_protocol`.

    Raises:
        InputError: a value is out of range.
    """

    score_threshold: float = DEFAULT_SCORE_THRESHOLD
    weight_by_score: bool = False
    reranker: Reranker | None = None
    compat: str | None = None

    def __post_init__(self) -> None:
        threshold = self.score_threshold
        if not (math.isfinite(threshold) and 0 <= threshold <= 1):
            raise InputError(f"score_threshold is {threshold}; expected a number from 0 to 1")
        if self.compat not in (None, *COMPATIBILITIES):
            raise InputError(
                f"compat is {self.compat!r}; expected None or one of {', '.join(COMPATIBILITIES)}"
            )
        if self.compat:
            object.__setattr__(self, "weight_by_score", True)

    @property
    def build_protocol(self) -> Callable[..., SearchProtocol]:
        """Builder of protocols for these options."""
        return build_seqnet_protocol if self.compat else build_protocol

    def weights(self, predictions: Predictions) -> np.ndarray | None:
        """Return (M,) factors of the detections' similarities; None for ones."""
        return predictions.detections.values.scores if self.weight_by_score else None

    def describe(self) -> dict[str, Any]:
        """Return the fields for JSON; a re-ranker with its name and parameters."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if self.reranker is not None:
            parameters = asdict(self.reranker)  # type: ignore[call-overload]
            fields["reranker"] = {"name": type(self.reranker).__name__} | parameters
        return fields


DEFAULTS = SearchOptions()
"""Semantics of the benchmarks."""
