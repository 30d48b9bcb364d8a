"""The user's verdicts: same person, or somebody else.

Shape letters: K matches, R rejected and S confirmed sightings, V verdicts.
"""

from dataclasses import dataclass

import numpy as np

from clsa_search.sightings.stranger_tail import StrangerTail

MIN_VERDICTS = 50  # of each kind
_POINTS = 128  # of the curve
_SHORTEST = 1e-6  # span of the far half of a tail


@dataclass(frozen=True)
class VerdictCounts:
    """Numbers of verdicts with a score.

    Args:
        same: verdicts "same person".
        other: verdicts "somebody else".
    """

    same: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """Number of both."""
        return self.same + self.other

    @property
    def missing(self) -> tuple[int, int]:
        """Numbers of both kinds still missing for a probability."""
        return max(0, MIN_VERDICTS - self.same), max(0, MIN_VERDICTS - self.other)


@dataclass(frozen=True)
class ProbabilityCurve:
    """Chance that a match is the same person, by its score.

    Args:
        scores: ascending scores, see `score_matches`.
        chances: chance at each, never falling.
    """

    scores: tuple[float, ...]
    chances: tuple[float, ...]

    def find_chances(self, scores: np.ndarray) -> np.ndarray:
        """Return the chance at each score; beyond the verdicts, the nearest one's."""
        return np.interp(scores, self.scores, self.chances)


def score_matches(z: np.ndarray, tail: StrangerTail, sightings: float | np.ndarray) -> np.ndarray:
    """Return the scores (K,) of matches, comparable between searches.

    A score is minus the logarithm of the expected strangers in the whole gallery. It falls as the
    gallery grows. Filters do not change it: fewer sightings of the person are searched then, as
    well as fewer strangers. Beyond the tail it goes on rising as in the far half of the tail.

    Args:
        z: (K,) standardized similarities.
        tail: share of strangers by standardized similarity.
        sightings: number of sightings in the gallery, of all matches or (K,) of each.
    """
    z, logs = np.asarray(z, float), np.log(tail.rates)
    middle = int(np.searchsorted(-logs, -logs[-1] / 2, side="right")) - 1
    steps = max(tail.scores[-1] - tail.scores[middle], _SHORTEST)
    beyond = np.maximum(z - tail.scores[-1], 0) * (logs[middle] - logs[-1]) / steps
    return beyond - np.log(tail.find_rates(z)) - np.log(np.maximum(sightings, 1))


def fit_probability(scores: np.ndarray, same: np.ndarray) -> ProbabilityCurve | None:
    """Fit the chance of the same person by isotonic regression.

    At each score it is fitted twice, with one more verdict of either kind there, and the two are
    merged (Venn-Abers: Vovk, Petej and Fedorova, "Large-scale probabilistic predictors with and
    without guarantees of validity", 2015). Where n verdicts are pooled, h of them "same", this is
    (h + 1) / (n + 2): no chance is beyond 1 / (n + 2) and (n + 1) / (n + 2).

    Args:
        scores: (V,) scores of the judged matches.
        same: (V,) whether each is the same person.

    Returns:
        The curve; None with less than `MIN_VERDICTS` verdicts of a kind.
    """
    same = np.asarray(same, bool)
    if min(same.sum(), (~same).sum()) < MIN_VERDICTS:
        return None
    values, codes = np.unique(np.asarray(scores, float), return_inverse=True)
    counts = np.bincount(codes).astype(float)
    hits = np.bincount(codes, weights=same)
    rows = np.unique(np.linspace(0, len(values) - 1, _POINTS).round().astype(int))
    chances = np.maximum.accumulate([_merge(hits, counts, row) for row in rows])  # rounding
    return ProbabilityCurve(tuple(values[rows].tolist()), tuple(chances.tolist()))


def _merge(hits: np.ndarray, counts: np.ndarray, row: int) -> float:
    """Return the chance at one score from the fits with one more verdict of either kind there."""
    from scipy.optimize import isotonic_regression

    counts, hits = counts.copy(), hits.copy()
    counts[row] += 1
    low = isotonic_regression(hits / counts, weights=counts).x[row]
    hits[row] += 1
    high = isotonic_regression(hits / counts, weights=counts).x[row]
    return float(high / (1 - low + high))


def find_near_copies(
    matches: np.ndarray,
    similarities: np.ndarray,
    rejected: np.ndarray,
    query: np.ndarray,
    confirmed: np.ndarray | None = None,
) -> np.ndarray:
    """Find the matches that look more like somebody else than like the person searched.

    A match is a near copy of a rejected sighting if it is more alike to it than to the query and to
    all confirmed sightings, and than the rejected sighting is to the query. Nothing else changes:
    the verdict holds for this query.

    Args:
        matches: (K, D) embeddings of unit length.
        similarities: (K,) inner products with the query.
        rejected: (R, D) embeddings of the sightings of somebody else.
        query: (D,) embedding.
        confirmed: (S, D) embeddings of the sightings of the same person.

    Returns:
        (K,) row of the most alike rejected sighting; -1: none.
    """
    if not len(rejected) or not len(matches):
        return np.full(len(matches), -1)
    alike = matches @ rejected.T
    nearest = alike.argmax(axis=1)
    best = alike[np.arange(len(matches)), nearest]
    own = np.asarray(similarities, float)
    if confirmed is not None and len(confirmed):
        own = np.maximum(own, (matches @ confirmed.T).max(axis=1))
    is_copy = (best > own) & (best > (rejected @ query)[nearest])
    return np.where(is_copy, nearest, -1)
