"""Metrics of a variant: mean and interval over its seeds, and the change to its baseline."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks.ablation.run_metrics import RunMetrics
from benchmarks.ablation.variants import Variant


class Spread(NamedTuple):
    """Spread over seeds.

    Args:
        mean: mean value.
        deviation: standard deviation of the sample (n - 1); NaN for a single seed.
        margin: half of the 95 % interval of the mean, by Student's t; NaN for a single seed.
    """

    mean: float
    deviation: float
    margin: float


Spreads = dict[str, dict[str, Spread]]


class VariantSummary(NamedTuple):
    """Metrics of a variant over its seeds.

    Args:
        variant: the variant.
        runs: metrics by seed, one or more.
        spread: spread of the metrics.
        change: spread of the differences to the baseline, seed by seed; None without a common seed
            and for a variant that is its own baseline.
        change_seeds: seeds of the differences.
    """

    variant: Variant
    runs: Mapping[int, RunMetrics]
    spread: Spreads
    change: Spreads | None
    change_seeds: list[int]


def summarize(
    variants: Sequence[Variant], metrics: Mapping[str, Mapping[int, RunMetrics]]
) -> list[VariantSummary]:
    """Summarize the variants with at least one run, in the given order.

    Args:
        variants: variants of the table.
        metrics: {variant: {seed: metrics}}.
    """
    summaries = []
    for variant in variants:
        runs = dict(sorted(metrics.get(variant.name, {}).items()))
        if not runs:
            continue
        baseline = metrics.get(variant.baseline, {}) if variant.baseline != variant.name else {}
        paired = [seed for seed in runs if seed in baseline]
        differences = [_subtract(runs[seed], baseline[seed]) for seed in paired]
        summaries.append(
            VariantSummary(
                variant=variant,
                runs=runs,
                spread=_compute_spreads(list(runs.values())),
                change=_compute_spreads(differences) if paired else None,
                change_seeds=paired,
            )
        )
    return summaries


def _compute_spreads(runs: Sequence[RunMetrics]) -> Spreads:
    """Compute the spread of each metric of all runs."""
    return {
        group: {
            name: _compute_spread([run[group][name] for run in runs])
            for name in names
            if all(name in run[group] for run in runs)
        }
        for group, names in runs[0].items()
    }


def _compute_spread(values: Sequence[float]) -> Spread:
    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        return Spread(mean, math.nan, math.nan)
    deviation = float(np.std(values, ddof=1))
    return Spread(mean, deviation, float(stats.t.ppf(0.975, count - 1)) * deviation / count**0.5)


def _subtract(run: RunMetrics, baseline: RunMetrics) -> RunMetrics:
    """Return the differences of the common metrics."""
    return {
        group: {
            name: value - baseline[group][name]
            for name, value in metrics.items()
            if name in baseline[group]
        }
        for group, metrics in run.items()
    }
