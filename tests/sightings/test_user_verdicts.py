"""The user's verdicts: chances, and near copies of somebody else."""

import numpy as np
import pytest

from clsa_search.sightings.stranger_tail import StrangerTail
from clsa_search.sightings.user_verdicts import find_near_copies, fit_probability, score_matches


def test_chances_by_hand():
    scores = np.repeat([1.0, 2.0, 3.0], [50, 50, 50])
    same = np.concatenate([np.repeat([True, False], [5, 45]), [True, False] * 25, np.ones(50)])
    curve = fit_probability(scores, same)
    assert curve is not None
    # of h of n pooled verdicts: (h + 1) / (n + 2)
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


@pytest.mark.parametrize(("verdicts", "error"), [(150, 0.12), (600, 0.07), (2000, 0.05)])
def test_chances_are_true(verdicts, error):
    """The stated chance is the share of the same person, within an error that verdicts lower."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        scores, new = rng.uniform(-4, 4, verdicts), rng.uniform(-4, 4, 20_000)
        curve = fit_probability(scores, rng.random(verdicts) < 1 / (1 + np.exp(-1.5 * scores)))
        assert curve is not None
        chances, truth = curve.find_chances(new), 1 / (1 + np.exp(-1.5 * new))
        assert np.abs(chances - truth).mean() < 0.75 * error
        same, codes = rng.random(len(new)) < truth, (5 * chances).astype(int)
        gaps = [abs(chances[codes == i].mean() - same[codes == i].mean()) for i in set(codes)]
        assert np.mean(gaps) < error


@pytest.mark.parametrize("verdicts", [100, 1000])
def test_chances_stay_away_from_0_and_1_by_the_number_of_verdicts(verdicts):
    scores = np.arange(float(verdicts))
    curve = fit_probability(scores, scores >= verdicts / 2)  # never wrong
    assert curve is not None
    pooled = verdicts / 2
    assert curve.chances[0] == pytest.approx(1 / (pooled + 2))
    assert curve.chances[-1] == pytest.approx((pooled + 1) / (pooled + 2))


TAIL = StrangerTail((0.0, 2.0, 4.0, 6.0), (1.0, 1e-1, 1e-2, 1e-4))


def test_scores_rise_with_the_likeness_and_fall_with_the_gallery():
    z = np.array([-1.0, 2.0, 3.0, 6.0, 7.0, 9.0])
    scores = score_matches(z, TAIL, 100) / np.log(10)
    # beyond the tail: as from 4 to 6, one decade for each
    assert scores == pytest.approx([-2, -1, -0.5, 2, 3, 5])
    assert score_matches(z, TAIL, 1000) == pytest.approx(score_matches(z, TAIL, 100) - np.log(10))
    each = score_matches(z[:2], TAIL, np.array([100.0, 1000.0])) / np.log(10)
    assert each == pytest.approx([-2, -2])
    flat = StrangerTail((0.0, 1.0), (0.5, 0.5))
    assert np.isfinite(score_matches(z, flat, 10)).all()


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
