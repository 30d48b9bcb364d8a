"""The share of strangers above a standardized similarity, far beyond the strangers at hand.

Certain strangers, such as people of one frame, are few and share the light of their frame. Random
pairs of tracklets are many and share nothing, but some of them are one person: as many are dropped
as exceed the share of certain strangers. Two estimates weigh this differently; their geometric mean
has the smaller error (docs/search.md):

- the distribution of certain strangers, moved and stretched to the body of random pairs;
- the body of random pairs, continued with the shape of the tail of certain strangers.

Both continue with a generalized Pareto distribution (Pickands, "Statistical Inference Using Extreme
Order Statistics", 1975). Its shape comes from probability-weighted moments (Hosking and Wallis,
"Parameter and Quantile Estimation for the Generalized Pareto Distribution", 1987), drawn to that of
a normal distribution, because a few hundred values do not tell it alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_BODY = 0.05  # certain strangers and random pairs agree at the median and at this share
_FAR_BODY = 0.03, 0.01  # shares at which random pairs are continued: few are one person
_RARE, _FEWEST = 0.001, 10  # share and number of the certain strangers that tell of matches:
# if more random pairs are as alike, these are matches
_MOST_MATCHES = 0.1  # of random pairs
_CERTAIN_TAIL, _CERTAIN_SIZE = 0.05, 250  # share and largest number of values in the tail
_SHAPE_TAIL = 0.02
_BEYOND = 200  # the tail is trusted down to this part of one pair
_POINTS = 100
_TINY = 1e-9


class _Prior(NamedTuple):
    """Shape that a normal distribution has in a tail, and its weight in values."""

    shape: float
    weight: float


_CERTAIN_PRIOR, _RANDOM_PRIOR = _Prior(-0.05, 250), _Prior(-0.065, 500)


@dataclass(frozen=True)
class StrangerTail:
    """Share of strangers with at least some standardized similarity, as a table.

    Args:
        scores: ascending standardized similarities.
        rates: share of strangers at or above each, descending from 1; the last one is the lowest
            share that the pairs at hand can tell.
    """

    scores: tuple[float, ...]
    rates: tuple[float, ...]

    @property
    def lowest(self) -> float:
        """Lowest share that can be told."""
        return self.rates[-1]

    def find_rates(self, scores: np.ndarray) -> np.ndarray:
        """Return the share of strangers at or above each score, of the same shape."""
        logs = np.interp(scores, self.scores, np.log(self.rates))
        return np.where(np.asarray(scores) >= self.scores[-1], self.lowest, np.exp(logs))


def fit_tail(strangers: np.ndarray, random: np.ndarray, pairs: int) -> StrangerTail:
    """Fit the tail of strangers.

    Args:
        strangers: standardized similarities of certain strangers.
        random: standardized similarities of random pairs of tracklets.
        pairs: number of independent pairs of certain strangers.
    """
    strangers = np.sort(strangers)
    random = _drop_matches(strangers, np.sort(random))
    lowest = 1 / (_BEYOND * pairs)
    first, last = min(strangers[0], random[0]), max(strangers[-1], random[-1]) + _TINY
    scores = np.linspace(first, last + (last - first), 2 * _POINTS)
    # random pairs hold all strangers, and maybe some matches: their share is an upper bound
    bound = _share_above(random, scores)
    certain = np.minimum(_continue_certain(strangers, random, scores), bound)
    body = np.minimum(_continue_random(strangers, random, scores), bound)
    rates = np.minimum.accumulate(np.clip(np.sqrt(certain * body), lowest, 1))
    end = min(int((rates > lowest).sum()), len(rates) - 1)  # the rest says the same
    rounded = [float(f"{rate:.6g}") for rate in (*rates[:end], lowest)]  # stored as text
    return StrangerTail(tuple(scores[: end + 1].round(6).tolist()), tuple(rounded))


def fit_shape(excesses: np.ndarray) -> float:
    """Return the shape of a generalized Pareto distribution by probability-weighted moments.

    Args:
        excesses: ascending values above the threshold.
    """
    count = len(excesses)
    weights = 1 - (np.arange(1, count + 1) - 0.35) / count
    mean = float(excesses.mean())
    spread = mean - 2 * float((excesses * weights).mean())
    return float(np.clip(2 - mean / spread, -1, 0.5)) if spread > _TINY else 0.0


def _move(strangers: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Return certain strangers, moved and stretched to the body of random pairs."""
    low, high = np.quantile(strangers, [0.5, 1 - _BODY])
    random_low, random_high = np.quantile(random, [0.5, 1 - _BODY])
    stretch = (random_high - random_low) / (high - low) if high - low > _TINY else 1.0
    return random_low + (strangers - low) * stretch


def _drop_matches(strangers: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Return random pairs without matches, as far as certain strangers tell how many there are.

    They are dropped evenly from the pairs that few certain strangers reach.

    Args:
        strangers: ascending values of certain strangers.
        random: ascending values of random pairs.
    """
    rare = min(max(_RARE, _FEWEST / len(strangers)), 1.0)
    count = len(random)
    first = np.searchsorted(random, np.quantile(_move(strangers, random), 1 - rare))
    matches = round(min(count - first - rare * count, _MOST_MATCHES * count))
    if matches <= 0:
        return random
    return np.delete(random, np.linspace(first, count - 1, matches).round().astype(int))


def _continue_certain(strangers: np.ndarray, random: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the shares of certain strangers, moved to the body of random pairs."""
    moved = _move(strangers, random)
    size = min(max(int(_CERTAIN_TAIL * len(moved)), 1), _CERTAIN_SIZE)
    excesses = moved[-size:] - moved[-size - 1]
    shape = _draw_shape(fit_shape(excesses), size, _CERTAIN_PRIOR)
    scale = max(float(excesses.mean()), _TINY) * (1 - shape)
    beyond = size / len(moved) * _survive(scores - moved[-size - 1], shape, scale)
    return np.where(scores <= moved[-size - 1], _share_above(moved, scores), beyond)


def _continue_random(strangers: np.ndarray, random: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the shares of random pairs, continued with the tail's shape of certain strangers."""
    size = max(int(_SHAPE_TAIL * len(strangers)), 1)
    shape = fit_shape(strangers[-size:] - strangers[-size - 1])
    shape = _draw_shape(shape, size / 2, _RANDOM_PRIOR)  # each pair gives two values
    near, far = np.quantile(random, [1 - share for share in _FAR_BODY])
    ratio = _FAR_BODY[0] / _FAR_BODY[1]
    scale = max((far - near) * shape / (ratio**shape - 1), _TINY)
    beyond = _FAR_BODY[0] * _survive(scores - near, shape, scale)
    return np.where(scores < far, _share_above(random, scores), beyond)


def _draw_shape(shape: float, size: float, prior: _Prior) -> float:
    """Return a shape drawn to the prior, never 0."""
    drawn = (size * shape + prior.weight * prior.shape) / (size + prior.weight)
    return drawn if abs(drawn) > 1e-3 else -1e-3


def _survive(excesses: np.ndarray, shape: float, scale: float) -> np.ndarray:
    """Return the share of a generalized Pareto distribution above each excess."""
    inner = 1 + shape * np.maximum(excesses, 0) / scale
    return np.maximum(inner, _TINY) ** (-1 / shape)


def _share_above(ascending: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the share of values at or above each score; one more counts, so it is never 0."""
    above = len(ascending) - np.searchsorted(ascending, scores)
    return np.minimum((above + 1) / len(ascending), 1)
