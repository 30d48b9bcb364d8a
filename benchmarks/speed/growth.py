"""Growth of a cost with a size: measurements at several sizes and a fitted line."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.speed.growth_plot import draw_growth
from benchmarks.speed.measurement import Measurement
from benchmarks.speed.operations import OperationCounts

_EXTRAPOLATED = " (extrapolated)"


@dataclass(frozen=True)
class Line:
    """Fitted line, start + slope * size.

    Args:
        start: value at size 0.
        slope: value per size.
        residual: largest relative deviation of the fitted values.
    """

    start: float
    slope: float
    residual: float

    def at(self, size: float) -> float:
        """Return the value at a size."""
        return self.start + self.slope * size


def fit_line(sizes: Sequence[float], values: Sequence[float]) -> Line:
    """Fit a line with non-negative start and slope by least squares of the relative errors.

    Relative errors weigh all sizes alike: small ones show the start, large ones the slope.

    Args:
        sizes: two distinct sizes or more; three or more give a meaningful residual.
        values: positive value at each size: seconds, MB, bytes.
    """
    x, y = np.asarray(sizes, np.float64), np.asarray(values, np.float64)
    largest = x.max()  # scales both columns alike
    shares = np.stack([np.ones_like(x), x / largest], axis=1) / y[:, None]
    (start, slope), _ = nnls(shares, np.ones_like(y))
    residual = np.abs(shares @ (start, slope) - 1).max()
    return Line(float(start), float(slope / largest), float(residual))


def measure_sizes(
    measure_at: Callable[[int], Iterable[Measurement]],
    sizes: Sequence[int],
    *,
    of: str,
    until: int | None = None,
) -> Iterator[Measurement]:
    """Measure at several sizes and fit a line to each measurement.

    Args:
        measure_at: function of a size; yields measurements of the same names for every size.
        sizes: sizes in the order of measurement.
        of: name of the size in the notes, such as "detections".
        until: size of the extrapolation; None extrapolates nothing.

    Yields:
        The measurements, then one extrapolation of each. Its name says so; its notes hold the
        line's start and slope in seconds and its largest relative residual. Operation counts are
        extrapolated likewise; measured limits and memory are not.
    """
    by_name: dict[str, list[Measurement]] = {}
    for size in sizes:
        for measurement in measure_at(size):
            by_name.setdefault(measurement.name, []).append(measurement)
            yield replace(measurement, notes={of: size, **measurement.notes})
    if until:
        for measurements in by_name.values():
            yield _extrapolate(measurements, sizes, of, until)


def plot_growth(rows: Sequence[Mapping[str, Any]], of: str, path: str | Path) -> None:
    """Plot rows of `to_row` for the measurements of :func:`measure_sizes`.

    Args:
        rows: measured and extrapolated rows.
        of: name of the size.
        path: image file; its suffix chooses the format.
    """
    measured: dict[str, list[tuple[float, float]]] = {}
    extrapolated: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        name = row["name"].removesuffix(_EXTRAPOLATED)
        lines = measured if name == row["name"] else extrapolated
        lines.setdefault(f"{name}, per {row['unit']}", []).append((row[of], row["seconds"]))
    draw_growth(measured, extrapolated, of, path)


def _extrapolate(
    measurements: Sequence[Measurement], sizes: Sequence[int], of: str, until: int
) -> Measurement:
    line = fit_line(sizes, [measurement.seconds for measurement in measurements])
    counts = [m.operations for m in measurements if m.operations is not None]
    first = measurements[0]
    return Measurement(
        name=first.name + _EXTRAPOLATED,
        unit=first.unit,
        seconds=line.at(until),
        operations=_extrapolate_counts(counts, sizes, until) if counts else None,
        dtype=first.dtype,
        notes={
            of: until,
            "extrapolated from": f"{min(sizes):,} to {max(sizes):,} {of}",
            "largest residual": line.residual,
            "start": line.start,
            "slope": line.slope,
        },
    )


def _extrapolate_counts(
    counts: Sequence[OperationCounts], sizes: Sequence[int], until: int
) -> OperationCounts:
    columns = zip(*((count.flops, count.bytes, count.syncs) for count in counts), strict=True)
    flops, moved, syncs = (
        fit_line(sizes, column).at(until) if all(column) else 0 for column in columns
    )
    return OperationCounts(round(flops), round(moved), syncs)
