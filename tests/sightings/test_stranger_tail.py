"""The tail of strangers, against distributions with known tails."""

import numpy as np
import pytest
from scipy.stats import genpareto, norm

from clsa_search.sightings.stranger_tail import fit_shape, fit_tail


def test_the_tail_of_normal_scores():
    """A single gallery is off by a factor of 3 at most, on average by less than 2."""
    scores = np.array([0.0, 1.0, 2.0, 3.0, 3.7])
    ratios = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        tail = fit_tail(rng.standard_normal(20_000), rng.standard_normal(200_000), 10_000)
        ratios.append(tail.find_rates(scores) / norm.sf(scores))
    assert np.abs(np.log(ratios)).max() < np.log(3.5)
    assert np.abs(np.log(np.mean(ratios, axis=0))).max() < np.log(2)


def test_light_shared_by_certain_strangers_does_not_matter():
    """Certain strangers share the light of their frame: all are more alike, and less different."""
    rng = np.random.default_rng(0)
    strangers, random = rng.standard_normal(20_000), rng.standard_normal(1_000_000)
    scores = np.linspace(0, 4, 50)
    plain = fit_tail(strangers, random, 10_000).find_rates(scores)
    lit = fit_tail(1.7 + 0.6 * strangers, random, 10_000).find_rates(scores)
    assert lit == pytest.approx(plain, rel=0.1)


def test_matches_among_random_pairs_do_not_count_as_strangers():
    rng = np.random.default_rng(0)
    random = rng.standard_normal(1_000_000)
    random[:1000] = 6 + rng.standard_normal(1000)  # one pair of a thousand is one person
    tail = fit_tail(rng.standard_normal(20_000), random, 10_000)
    assert tail.find_rates(np.array(5.0)) < 2e-5
    assert 0.5 < tail.find_rates(np.array(3.0)) / norm.sf(3) < 3


def test_matches_are_dropped_as_certain_strangers_tell_their_number():
    """One random pair of two hundred is one person: at 3.5 twenty times as many as strangers."""
    rng = np.random.default_rng(0)
    strangers, random = rng.standard_normal(20_000), rng.standard_normal(1_000_000)
    plain = fit_tail(strangers, random, 10_000)
    matches = np.concatenate([random, 5 + rng.standard_normal(5000)])
    scores = np.array([2.5, 3.0, 3.5])
    assert fit_tail(strangers, matches, 10_000).find_rates(scores) == pytest.approx(
        plain.find_rates(scores), rel=0.35
    )


def test_the_rates_fall_from_one_to_the_lowest():
    rng = np.random.default_rng(1)
    tail = fit_tail(rng.standard_normal(2000), rng.standard_normal(100_000), 1000)
    rates = tail.find_rates(np.linspace(-9, 99, 500))
    assert rates[0] == 1 and rates[-1] == tail.lowest == pytest.approx(1 / 200_000, rel=1e-4)
    assert (np.diff(rates) <= 0).all()


@pytest.mark.parametrize("scores", [np.zeros(1000), np.repeat([0.0, 1.0], 500)])
def test_scores_without_a_tail_give_finite_rates(scores):
    tail = fit_tail(scores, scores, 500)
    rates = tail.find_rates(np.array([-1.0, 0.0, 0.5, 1.0, 9.0]))
    assert np.isfinite(rates).all() and (rates > 0).all() and (np.diff(rates) <= 0).all()


@pytest.mark.parametrize("shape", [-0.4, -0.1, 0.2])
def test_the_shape_of_a_generalized_pareto_distribution(shape):
    values = genpareto.rvs(shape, size=50_000, random_state=0)
    assert fit_shape(np.sort(values)) == pytest.approx(shape, abs=0.03)


def test_equal_values_have_no_shape():
    assert fit_shape(np.zeros(10)) == 0.0
