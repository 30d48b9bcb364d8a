"""RunMetrics of runs to figures of rows: mean and deviation over seeds, and what a row gains."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.ablation.run_metrics import RunMetrics
from benchmarks.ablation.variants import Variant


class Spread(NamedTuple):
    """Of some seeds. The deviation is the sample's (n - 1); NaN for a single one."""

    mean: float
    deviation: float


class VariantSummary(NamedTuple):
    """What the runs of a row say together.

    `change` is over the seeds that the row's baseline has too, each minus its baseline of the same
    seed; None where there is no such seed, and for a row that is its own baseline.
    """

    row: Variant
    runs: Mapping[int, RunMetrics]  # by seed, one or more
    spread: dict[str, dict[str, Spread]]
    change: dict[str, dict[str, Spread]] | None
    change_seeds: list[int]


def summarize(
    rows: Sequence[Variant], figures: Mapping[str, Mapping[int, RunMetrics]]
) -> list[VariantSummary]:
    """The rows that have a run, in the order given.

    Args:
        rows: of the table.
        figures: {row: {seed: figures}}.
    """
    summaries = []
    for row in rows:
        runs = dict(sorted(figures.get(row.name, {}).items()))
        if not runs:
            continue
        baseline = figures.get(row.baseline, {}) if row.baseline != row.name else {}
        paired = [seed for seed in runs if seed in baseline]
        differences = [_subtract(runs[seed], baseline[seed]) for seed in paired]
        summaries.append(
            VariantSummary(
                row=row,
                runs=runs,
                spread=_spread_all(list(runs.values())),
                change=_spread_all(differences) if paired else None,
                change_seeds=paired,
            )
        )
    return summaries


def _spread_all(runs: Sequence[RunMetrics]) -> dict[str, dict[str, Spread]]:
    """Over the runs; names that only some of them have are left out."""
    return {
        group: {
            name: _spread([run[group][name] for run in runs])
            for name in names
            if all(name in run[group] for run in runs)
        }
        for group, names in runs[0].items()
    }


def _spread(values: Sequence[float]) -> Spread:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), deviation)


def _subtract(run: RunMetrics, baseline: RunMetrics) -> RunMetrics:
    """What both have; a single level has no second one to compare."""
    return {
        group: {name: run[group][name] - baseline[group][name] for name in names}
        for group, names in ((g, [n for n in run[g] if n in baseline[g]]) for g in run)
    }
