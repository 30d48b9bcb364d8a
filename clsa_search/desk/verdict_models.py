"""Shapes of the API for the user's verdicts on matches; see `api_models`."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from clsa_search.desk.api_models import Answer, Id, Shape
from clsa_search.retrieval.verdict_store import MAX_Z, QUERY_NAME, LoadedProbability
from clsa_search.sightings.user_verdicts import MIN_VERDICTS


class MatchVerdict(Shape):
    """What the user says of a match.

    Args:
        tracklet: id of its sighting.
        said: "same", "other", or null to take the word back.
        z: number of the same name in the answer of the search; null if it was not calibrated.
    """

    tracklet: Id
    said: Literal["same", "other"] | None
    z: Annotated[float, Field(gt=-MAX_Z, lt=MAX_Z)] | None = None


class VerdictsRequest(Shape):
    """Verdicts on matches of one query.

    Args:
        query: name of the query: the `id` of an answer, or a random text for the person searched,
            the same in further searches. A later verdict with this name on the same sighting
            replaces the earlier one. It is stored: nothing of an image belongs in it.
        verdicts: on different sightings; all are stored or none.
    """

    query: Annotated[str, StringConstraints(pattern=f"^{QUERY_NAME}$")]
    verdicts: Annotated[list[MatchVerdict], Field(min_length=1, max_length=1000)]


class VerdictsAnswer(Answer):
    """Numbers of the stored verdicts of all searches.

    Args:
        same: verdicts "same person".
        other: verdicts "somebody else".
        needed: number of each for a probability.
        missing_same: number of verdicts "same" still missing.
        missing_other: number of verdicts "other" still missing.
        unscored: verdicts in searches without a calibration; they count for no probability.
    """

    same: int
    other: int
    needed: int = MIN_VERDICTS
    missing_same: int
    missing_other: int
    unscored: int = 0


def verdicts_answer(loaded: LoadedProbability) -> VerdictsAnswer:
    """Return the numbers of verdicts in the shape of the API."""
    counts = loaded.counts
    missing_same, missing_other = counts.missing
    return VerdictsAnswer(
        same=counts.same,
        other=counts.other,
        missing_same=missing_same,
        missing_other=missing_other,
        unscored=loaded.unscored,
    )
