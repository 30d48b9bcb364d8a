"""How similarities are made and what counts, in one value for everything that ranks."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from clsa_search.errors import InputError
from clsa_search.evaluation.compat import COMPATIBILITIES, build_seqnet_protocol
from clsa_search.evaluation.protocol import SearchProtocol, build_protocol
from clsa_search.evaluation.reranking import Reranker


@dataclass(frozen=True)
class SearchOptions:
    """Each is off by default; the defaults are the benchmarks' semantics.

    `score_threshold`: detections with a lower score do not exist.
    `weight_by_score`: multiply similarities by the detection's score (Chen et al., "Norm-Aware
    Embedding for Efficient Person Search", CVPR 2020; SeqNet and COAT do so too).
    `reranker`: makes the similarities of a gallery anew (`clsa_search.evaluation.reranking`).
    `compat`: "seqnet" for another family's numbers (`clsa_search.evaluation.compat`). It weights by
    score, and asks for protocols that `build_protocol` made.

    Raises:
        InputError: a value is out of range.
    """

    score_threshold: float = 0.5
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
        """What makes protocols to be scored with these options."""
        return build_seqnet_protocol if self.compat else build_protocol

    def describe(self) -> dict[str, Any]:
        """The fields for JSON; a re-ranker with its name and parameters."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if self.reranker is not None:
            fields["reranker"] = {"name": type(self.reranker).__name__} | asdict(self.reranker)
        return fields


DEFAULTS = SearchOptions()
