"""Comparison of two results: changes of queries, and the bootstrap interval."""

import math

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.evaluation import SearchResult, compare_results
from clsa_search.evaluation.summary import format_comparison


def make_result(precisions, query_ids=None):
    count = len(precisions)
    ids = np.arange(count) if query_ids is None else np.array(query_ids)
    zeros = np.zeros(count, dtype=np.int64)
    return SearchResult("made", ids, np.array(precisions, dtype=float), zeros, zeros, zeros, None)


def test_changes_are_counted_and_ordered():
    comparison = compare_results(
        make_result([0.5, 0.5, 0.5, 0.2, 0.9]), make_result([0.6, 0.5, 0.1, 0.6, 0.8])
    )
    assert comparison.count() == {"better": 2, "worse": 2, "equal": 1}
    assert comparison.difference == pytest.approx(0)
    # without the unchanged query
    assert set(comparison.find_most_changed(9).tolist()) == {0, 2, 3, 4}
    assert len(comparison.find_most_changed(2)) == 2
    # of equal changes, the worse first
    exact = compare_results(make_result([0.5, 0.5, 0.0]), make_result([0.25, 0.75, 0.0]))
    assert exact.find_most_changed(9).tolist() == [0, 1]


def test_every_query_is_in_the_json():
    comparison = compare_results(make_result([0.5, 1.0], [3, 8]), make_result([0.75, 0.5], [3, 8]))
    document = comparison.describe()
    assert document.pop("per_query") == [
        {"query_id": 3, "before": 0.5, "now": 0.75},
        {"query_id": 8, "before": 1.0, "now": 0.5},
    ]
    assert document == {
        "difference": pytest.approx(-12.5),
        "low": pytest.approx(-50),
        "high": pytest.approx(25),
        "confidence": 0.95,
        **{"better": 1, "worse": 1, "equal": 0},
    }
    assert format_comparison(comparison, 1).endswith("most changed: 8 (-50.0)")
    assert format_comparison(comparison).endswith("most changed: 8 (-50.0), 3 (+25.0)")


def test_interval_is_the_one_of_the_mean():
    """For many normal differences the interval is mean +- 1.96 sd / sqrt(n)."""
    rng = np.random.default_rng(0)
    change = rng.normal(0.03, 0.2, 2000)
    base = rng.uniform(0.3, 0.6, 2000)
    comparison = compare_results(make_result(base), make_result(base + change))
    half = 1.96 * change.std() / math.sqrt(2000)
    assert comparison.difference == pytest.approx(100 * change.mean())
    assert comparison.low == pytest.approx(100 * (change.mean() - half), abs=0.05)
    assert comparison.high == pytest.approx(100 * (change.mean() + half), abs=0.05)
    again = compare_results(make_result(base), make_result(base + change))
    assert (again.low, again.high) == (comparison.low, comparison.high)


def test_queries_are_paired():
    """Precisions vary much more than their constant change."""
    base = np.linspace(0, 0.9, 50)
    comparison = compare_results(make_result(base), make_result(base + 0.01))
    assert comparison.low == pytest.approx(1) and comparison.high == pytest.approx(1)


def test_results_without_queries_and_of_other_queries():
    comparison = compare_results(make_result([]), make_result([]))
    assert math.isnan(comparison.difference) and math.isnan(comparison.low)
    assert comparison.find_most_changed(3).tolist() == []
    with pytest.raises(InputError, match="have different queries; expected two results"):
        compare_results(make_result([0.1]), make_result([0.1], [3]))
