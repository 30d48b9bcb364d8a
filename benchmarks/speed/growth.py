"""How a cost grows with a size: measured at several, then the law, and what it says beyond them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.speed.growth_plot import draw_growth
from benchmarks.speed.measurement import Measurement
from benchmarks.speed.operations import OperationCounts

_BEYOND = " (extrapolated)"


@dataclass(frozen=True)
class Line:
    """start + slope * size."""

    start: float
    slope: float
    residual: float  # largest relative deviation of what was fitted

    def at(self, size: float) -> float:
        return self.start + self.slope * size


def fit_line(sizes: Sequence[float], values: Sequence[float]) -> Line:
    """The line of least squares of the relative errors, whose parts are not negative.

    Relative, because small sizes tell the start and large ones the slope.

    Args:
        sizes: two different ones or more; the residual says something from three on.
        values: at each size, more than 0: seconds, MB, bytes.
    """
    sizes, values = np.asarray(sizes, np.float64), np.asarray(values, np.float64)
    largest = sizes.max()  # the two columns alike in size
    shares = np.stack([np.ones_like(sizes), sizes / largest], axis=1) / values[:, None]
    (start, slope), _ = nnls(shares, np.ones_like(values))
    residual = np.abs(shares @ (start, slope) - 1).max()
    return Line(float(start), float(slope / largest), float(residual))


def measure_sizes(
    measure_at: Callable[[int], Iterable[Measurement]],
    sizes: Sequence[int],
    *,
    of: str,
    until: int | None = None,
) -> Iterator[Measurement]:
    """Measure at several sizes and fit a line to each figure.

    Args:
        measure_at: gives figures of the same names for every size.
        sizes: where to measure, in this order.
        of: what grows, as the figures' notes call it: "rows", "people".
        until: where to extrapolate each line to; None: nowhere.

    Yields:
        The measurements as they are taken, then one extrapolation of each. Its name says so; its
        notes hold the line's start and slope in seconds and its largest relative residual.
        Operation counts are extrapolated likewise; measured limits and memory are not.
    """
    found: dict[str, list[Measurement]] = {}
    for size in sizes:
        for figure in measure_at(size):
            found.setdefault(figure.name, []).append(figure)
            yield replace(figure, notes={of: size, **figure.notes})
    for figures in found.values() if until else ():
        yield _extrapolate(figures, sizes, of, until)


def plot_growth(rows: Sequence[Mapping[str, Any]], of: str, path: str | Path) -> None:
    """A plot of :func:`measure_sizes`' figures, as `to_row` makes them flat.

    Args:
        rows: measured and extrapolated.
        of: as there.
        path: the picture; its suffix chooses the format.
    """
    measured: dict[str, list[tuple[float, float]]] = {}
    beyond: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        name = row["name"].removesuffix(_BEYOND)
        lines = measured if name == row["name"] else beyond
        lines.setdefault(f"{name}, per {row['unit']}", []).append((row[of], row["seconds"]))
    draw_growth(measured, beyond, of, path)


def _extrapolate(
    figures: Sequence[Measurement], sizes: Sequence[int], of: str, until: int
) -> Measurement:
    line = fit_line(sizes, [figure.seconds for figure in figures])
    works = [figure.operations for figure in figures]
    return Measurement(
        name=figures[0].name + _BEYOND,
        unit=figures[0].unit,
        seconds=line.at(until),
        operations=None if None in works else _grow_work(works, sizes, until),
        dtype=figures[0].dtype,
        notes={
            of: until,
            "extrapolated from": f"{min(sizes):,} to {max(sizes):,} {of}",
            "largest residual": line.residual,
            "start": line.start,
            "slope": line.slope,
        },
    )


def _grow_work(
    works: Sequence[OperationCounts], sizes: Sequence[int], until: int
) -> OperationCounts:
    columns = zip(*((work.flops, work.bytes, work.syncs) for work in works), strict=True)
    flops, moved, syncs = (
        fit_line(sizes, column).at(until) if all(column) else 0 for column in columns
    )
    return OperationCounts(round(flops), round(moved), syncs)
