"""How a cost grows with a size: measured at several, then the law, and what it says beyond them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.speed.figures import Figure
from benchmarks.speed.growth_plot import draw_growth
from benchmarks.speed.work import Work

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
    measure_at: Callable[[int], Iterable[Figure]],
    sizes: Sequence[int],
    *,
    of: str,
    until: int | None = None,
) -> Iterator[Figure]:
    """Measure at several sizes and fit a line to each figure.

    Args:
        measure_at: gives figures of the same names for every size.
        sizes: where to measure, in this order.
        of: what grows, as the figures' notes call it: "rows", "people".
        until: where to extrapolate each line to; None: nowhere.

    Yields:
        The figures as they are measured; then those extrapolated, which say so in their names and
        have the line's start and slope in seconds and its largest relative residual as notes. Work
        is extrapolated likewise; bounds that were timed, and memory, are not.
    """
    found: dict[str, list[Figure]] = {}
    for size in sizes:
        for figure in measure_at(size):
            found.setdefault(figure.name, []).append(figure)
            yield replace(figure, notes={of: size, **figure.notes})
    for figures in found.values() if until else ():
        yield _extrapolate(figures, sizes, of, until)


def draw_rows(rows: Sequence[Mapping[str, Any]], of: str, path: str | Path) -> None:
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


def _extrapolate(figures: Sequence[Figure], sizes: Sequence[int], of: str, until: int) -> Figure:
    line = fit_line(sizes, [figure.seconds for figure in figures])
    works = [figure.work for figure in figures]
    return Figure(
        name=figures[0].name + _BEYOND,
        unit=figures[0].unit,
        seconds=line.at(until),
        work=None if None in works else _grow_work(works, sizes, until),
        dtype=figures[0].dtype,
        notes={
            of: until,
            "extrapolated from": f"{min(sizes):,} to {max(sizes):,} {of}",
            "largest residual": line.residual,
            "start": line.start,
            "slope": line.slope,
        },
    )


def _grow_work(works: Sequence[Work], sizes: Sequence[int], until: int) -> Work:
    columns = zip(*((work.flops, work.bytes, work.waits) for work in works), strict=True)
    flops, moved, waits = (
        fit_line(sizes, column).at(until) if all(column) else 0 for column in columns
    )
    return Work(round(flops), round(moved), waits)
