"""How many strangers of a gallery would look as alike as a match.

A match is as good as the number of strangers that would look this alike among all sightings
searched, as BLAST states it for sequences. No labels are needed: the gallery holds certain
strangers, see `impostors`.

Shape letters: U tracklets, P pairs, K matches, D embedding width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from clsa_search.errors import InputError
from clsa_search.sightings.cohort import Cohort, stretch
from clsa_search.sightings.stranger_tail import StrangerTail, fit_tail

MIN_PAIRS = 500
UNIFORM_SCORE, UNIFORM_SHARE = 6.0, 0.01  # more strangers that alike: uniforms
_MAX_RANDOM = 1024  # tracklets of the cohort that are compared with the rest of it
_GROWTH = 1.25  # a gallery of more tracklets is calibrated again
_KEPT = 0.75  # of the cohort


class Strangers(NamedTuple):
    """How alike strangers are to a query's matches, (K,) each.

    Args:
        scores: standardized similarities.
        expected: expected number of strangers at least this alike among those searched.
        is_bound: whether the number is an upper bound.
    """

    scores: np.ndarray
    expected: np.ndarray
    is_bound: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """What was learnt about the strangers of a gallery; plain numbers, no embeddings.

    Args:
        tail: share of strangers by standardized similarity; None with too few pairs.
        pairs: number of pairs of certain strangers.
        concurrent: number of those on different cameras.
        tracklets: number of tracklets in the gallery.
        cohort: ids of the tracklets that queries are compared with.
        uniform: share of the pairs that look as alike as people in uniform.
        apart: groups of cameras that never see one person at the same time.
        fitted: POSIX time of the calibration.
    """

    tail: StrangerTail | None
    pairs: int
    concurrent: int
    tracklets: int
    cohort: tuple[int, ...]
    uniform: float
    apart: tuple[tuple[str, ...], ...]
    fitted: float

    @property
    def has_uniforms(self) -> bool:
        """Whether many strangers look like people in uniform."""
        return self.uniform > UNIFORM_SHARE

    def describe_staleness(self, tracklets: int, cohort: int) -> str | None:
        """Say why the calibration is out of date; None if it is not.

        Args:
            tracklets: present number of tracklets in the gallery.
            cohort: number of tracklets of the cohort that are still stored.
        """
        if max(tracklets, 1) > _GROWTH * max(self.tracklets, 1):
            return f"it knew {self.tracklets:,} of {tracklets:,} sightings"
        if cohort < _KEPT * len(self.cohort):
            return f"{cohort:,} of its {len(self.cohort):,} sightings are left"
        return None

    def to_values(self) -> dict[str, Any]:
        """Return the record without its cohort as plain numbers, texts and lists."""
        values = asdict(self)
        del values["cohort"]
        return values

    @classmethod
    def from_values(cls, values: Mapping[str, Any], cohort: bytes, name: str) -> "Calibration":
        """Return the record of `to_values`.

        Args:
            values: its fields.
            cohort: ids of the tracklets that queries are compared with, 8 bytes each.
            name: name of the gallery for messages.

        Raises:
            InputError: a field is missing or malformed.
        """
        try:
            fields = dict(values)
            tail = fields.pop("tail")
            if tail is not None:
                tail = StrangerTail(*(tuple(map(float, tail[key])) for key in ("scores", "rates")))
                check_table(tail)
            apart = tuple(tuple(map(str, group)) for group in fields.pop("apart"))
            ids = tuple(np.frombuffer(cohort, "<i8").tolist())
            known = cls(tail=tail, cohort=ids, apart=apart, **fields)
            check_numbers(known)
            return known
        except Exception as error:  # a damaged value can have any type
            raise InputError(describe_damage(name)) from error


def describe_damage(name: str) -> str:
    """Return the fault of a damaged calibration, with the command for it."""
    return f"{name}: its calibration is damaged; expected `clsa-search calibrate {name}`"


class StrangerScale:
    """The scale of similarities of one gallery.

    Args:
        tail: share of strangers by standardized similarity.
        cohort: tracklets that queries are compared with.
    """

    def __init__(self, tail: StrangerTail, cohort: Cohort) -> None:
        self._tail = tail
        self._cohort = cohort

    @property
    def lowest(self) -> float:
        """Lowest share of strangers that can be told."""
        return self._tail.lowest

    def compare(
        self,
        query: np.ndarray,
        similarities: np.ndarray,
        cameras: Sequence[str | None],
        searched: float,
    ) -> Strangers:
        """Compare matches with strangers.

        Args:
            query: (D,) embedding of unit length.
            similarities: (K,) inner products of the matches with it.
            cameras: camera of each match.
            searched: number of tracklets that were searched.
        """
        locations, scales = self._cohort.measure(query[None])
        codes = self._cohort.encode(cameras)
        scores = (stretch(np.asarray(similarities, float)) - locations[0, codes]) / scales[0]
        rates = self._tail.find_rates(scores)
        return Strangers(scores, searched * rates, rates <= self._tail.lowest)


class TrackletSample(NamedTuple):
    """Tracklets of a gallery, each as a query and as a match.

    Args:
        embeddings: (U, D) of unit length.
        queries: (U, D) embedding of the best detection of each: queries are single images.
        cameras: camera of each.
    """

    embeddings: np.ndarray
    queries: np.ndarray
    cameras: Sequence[str | None]


def fit_strangers(
    cohort: TrackletSample, people: TrackletSample, pairs: np.ndarray
) -> tuple[StrangerTail | None, float]:
    """Fit the tail of strangers.

    Args:
        cohort: tracklets that queries are compared with.
        people: tracklets of the pairs.
        pairs: (P, 2) rows of people who are certainly not the same.

    Returns:
        The tail, None with less than `MIN_PAIRS` pairs; and the share of uniforms.
    """
    if len(pairs) < MIN_PAIRS or len(cohort.embeddings) < 2:
        return None, 0.0
    compared = Cohort(cohort.embeddings, cohort.cameras)
    scores = standardize_pairs(compared, people, pairs)
    uniform = float((scores >= UNIFORM_SCORE).mean())
    random = standardize_random(compared, cohort.queries[compared.order])
    return fit_tail(scores, random, len(pairs)), uniform


def standardize_pairs(cohort: Cohort, people: TrackletSample, pairs: np.ndarray) -> np.ndarray:
    """Return the standardized similarities (2 P,) of pairs, each one the query once."""
    locations, scales = cohort.measure(people.queries)
    codes = cohort.encode(people.cameras)
    query, match = np.concatenate([pairs, pairs[:, ::-1]]).T
    similarities = np.einsum("pd,pd->p", people.queries[query], people.embeddings[match])
    return (stretch(similarities) - locations[query, codes[match]]) / scales[query]


def standardize_random(cohort: Cohort, queries: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the standardized similarities of random pairs of the cohort.

    Args:
        cohort: tracklets to compare with.
        queries: (M, D) each of them as a query, in the order of the cohort.
        seed: seed of the choice.
    """
    order = np.random.default_rng(seed).permutation(len(cohort))[:_MAX_RANDOM]
    locations, scales = cohort.measure(queries[order])
    similarities = stretch(queries[order] @ cohort.embeddings.T)
    scores = (similarities - locations[:, cohort.codes]) / scales[:, None]
    return scores[order[:, None] != np.arange(len(cohort))]


def check_numbers(known: Calibration) -> None:
    """Check the numbers of a calibration read from a file.

    Raises:
        ValueError, TypeError: one is no such number.
    """
    counts = (known.pairs, known.concurrent, known.tracklets, *known.cohort)
    if not all(isinstance(one, int) and one >= 0 for one in counts):
        raise ValueError("no number of pairs or sightings")
    if not (0 <= known.uniform <= 1 and abs(known.fitted) < math.inf):
        raise ValueError("no share of uniforms, or no time")


def check_table(tail: StrangerTail) -> None:
    """Check a tail read from a file.

    Raises:
        ValueError: it is no table of falling shares.
    """
    scores, rates = np.array(tail.scores), np.array(tail.rates)
    is_sound = (np.diff(scores) >= 0).all() and (np.diff(rates) <= 0).all()
    if len(scores) < 2 or len(scores) != len(rates) or not is_sound or not 0 < rates[-1] <= 1:
        raise ValueError("no table of falling shares")
