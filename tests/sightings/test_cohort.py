"""The cohort: its choice, and what it says of queries."""

import numpy as np
import pytest

from clsa_search.sightings.cohort import MAX_COHORT, Cohort, sample_cohort


def directions(count: int, width: int = 8, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((count, width))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_every_camera_has_as_many_tracklets():
    cameras = ["large"] * 5000 + ["small"] * 600 + ["tiny"] * 3
    chosen = sample_cohort(cameras)
    counts = {name: sum(cameras[row] == name for row in chosen) for name in set(cameras)}
    assert counts == {"large": 511, "small": 510, "tiny": 3}
    assert (np.diff(chosen) > 0).all()


def test_the_choice_is_repeatable_and_bounded():
    cameras = [f"camera {i % 300}" for i in range(60_000)]
    chosen = sample_cohort(cameras)
    assert len(chosen) == MAX_COHORT
    assert np.array_equal(chosen, sample_cohort(cameras))
    assert not np.array_equal(chosen, sample_cohort(cameras, seed=1))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_small_gallery_is_its_own_cohort(count):
    assert sample_cohort([None] * count).tolist() == list(range(count))


def test_location_and_scale_are_medians():
    query = np.array([[1.0, 0.0]], np.float32)
    cosines = np.array([0.1] * 20 + [0.3] * 20 + [0.6] * 20 + [0.8] * 20)
    embeddings = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    cohort = Cohort(embeddings, ["a"] * 40 + ["b"] * 40)
    locations, scales = cohort.measure(query)
    # upper medians: 0.3 on a, 0.8 on b, 0.6 everywhere; deviations 0 (40 times), and of 0.1 and 0.6
    # as inverse hyperbolic tangents, the smaller of them in the middle
    assert locations == pytest.approx(np.arctanh([[0.3, 0.8, 0.6]]), abs=1e-5)
    assert scales == pytest.approx([1.4826 * (np.arctanh(0.3) - np.arctanh(0.1))], abs=1e-5)
    assert cohort.encode(["b", "a", None, "unknown"]).tolist() == [1, 0, 2, 2]


def test_a_camera_with_few_tracklets_has_the_location_of_the_gallery():
    embeddings = directions(71)
    cohort = Cohort(embeddings, ["large"] * 40 + [None] * 31)
    locations, _ = cohort.measure(embeddings[:3])
    everywhere = np.sort(embeddings[:3] @ embeddings.T, axis=1)[:, 35]
    assert locations[:, 1] == pytest.approx(np.arctanh(everywhere), abs=1e-5)
    assert cohort.encode([None]).tolist() == [1]


def test_queries_of_many_blocks_are_measured_alike():
    embeddings = directions(4100)
    cohort = Cohort(embeddings[:100], ["a"] * 50 + ["b"] * 50)
    locations, scales = cohort.measure(embeddings)
    one_location, one_scale = cohort.measure(embeddings[4099:])
    assert locations[4099:] == pytest.approx(one_location, abs=1e-6)
    assert scales[4099:] == pytest.approx(one_scale, abs=1e-6)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_equal_embeddings_give_finite_numbers(count):
    cohort = Cohort(np.tile(directions(1), (count, 1)), ["a"] * count)
    locations, scales = cohort.measure(directions(2, seed=1))
    assert np.isfinite(locations).all() and (scales > 0).all()
