"""The user's verdicts: chances, and near copies of somebody else."""

import numpy as np
import pytest

from clsa_search.sightings.user_verdicts import find_near_copies, fit_probability


def test_chances_by_hand():
    scores = np.repeat([1.0, 2.0, 3.0], [50, 50, 50])
    same = np.concatenate([np.repeat([True, False], [5, 45]), [True, False] * 25, np.ones(50)])
    curve = fit_probability(scores, same)
    assert curve is not None
    # one verdict of each kind is added at either end
    expected = [6 / 52, 25 / 50, 51 / 52]
    assert curve.find_chances(np.array([1.0, 2.0, 3.0])) == pytest.approx(expected)
    assert curve.find_chances(np.array([-9.0, 1.5, 9.0])) == pytest.approx(
        [6 / 52, (6 / 52 + 0.5) / 2, 51 / 52]
    )


def test_chances_never_fall():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 6, 400)
    curve = fit_probability(scores, rng.random(400) < scores / 6)
    assert curve is not None
    assert (np.diff(curve.chances) >= 0).all()
    assert 0 < curve.chances[0] and curve.chances[-1] < 1


@pytest.mark.parametrize(("same", "other"), [(49, 200), (200, 49), (0, 0)])
def test_fifty_verdicts_of_each_kind_are_needed(same, other):
    verdicts = np.repeat([True, False], [same, other])
    assert fit_probability(np.arange(float(same + other)), verdicts) is None


def unit(*values: float) -> np.ndarray:
    return np.array(values) / np.linalg.norm(values)


def test_near_copies_of_somebody_else():
    query = unit(1, 0, 0)
    rejected = unit(1, 1, 0)
    matches = np.stack([unit(1, 1.1, 0), unit(1, 0.1, 0), unit(1, 0, 0.9)])
    copies = find_near_copies(matches, matches @ query, rejected[None], query)
    # the first looks like the rejected one, the second like the query, the third like neither
    assert copies.tolist() == [0, -1, -1]


def test_a_confirmed_sighting_protects_its_near_copies():
    query, rejected, confirmed = unit(1, 0, 0), unit(1, 1, 0), unit(1, 1.2, 0)
    match = unit(1, 1.25, 0)[None]
    assert find_near_copies(match, match @ query, rejected[None], query).tolist() == [0]
    protected = find_near_copies(match, match @ query, rejected[None], query, confirmed[None])
    assert protected.tolist() == [-1]


def test_without_verdicts_nothing_is_a_copy():
    matches = np.eye(3)
    assert find_near_copies(matches, np.ones(3), np.zeros((0, 3)), matches[0]).tolist() == [-1] * 3
    assert find_near_copies(np.zeros((0, 3)), np.zeros(0), matches, matches[0]).tolist() == []
