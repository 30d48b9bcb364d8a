"""The user's verdicts: same person, or somebody else.

Shape letters: K matches, R rejected and S confirmed sightings, V verdicts.
"""

from dataclasses import dataclass

import numpy as np

MIN_VERDICTS = 50  # of each kind


@dataclass(frozen=True)
class ProbabilityCurve:
    """Chance that a match is the same person, by its standardized similarity.

    Args:
        scores: ascending standardized similarities.
        chances: chance at each, never falling.
    """

    scores: tuple[float, ...]
    chances: tuple[float, ...]

    def find_chances(self, scores: np.ndarray) -> np.ndarray:
        """Return the chance at each score; beyond the verdicts that of the nearest."""
        return np.interp(scores, self.scores, self.chances)


def fit_probability(scores: np.ndarray, same: np.ndarray) -> ProbabilityCurve | None:
    """Fit the chance of the same person by isotonic regression.

    A verdict of each kind is added at either end (rule of succession), so that no chance is 0 or 1.

    Args:
        scores: (V,) standardized similarities of the judged matches.
        same: (V,) whether each is the same person.

    Returns:
        The curve; None with less than `MIN_VERDICTS` verdicts of a kind.
    """
    same = np.asarray(same, bool)
    if min(same.sum(), (~same).sum()) < MIN_VERDICTS:
        return None
    from scipy.optimize import isotonic_regression

    values, codes = np.unique(np.asarray(scores, float), return_inverse=True)
    counts = np.bincount(codes).astype(float)
    hits = np.bincount(codes, weights=same)
    for end in (0, -1):
        counts[end] += 2
        hits[end] += 1
    chances = isotonic_regression(hits / counts, weights=counts).x
    return ProbabilityCurve(tuple(values.tolist()), tuple(chances.tolist()))


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
