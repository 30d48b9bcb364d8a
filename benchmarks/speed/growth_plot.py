"""Plot of cost over size."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from clsa_search.visualize.curves import COLORS

Points = Sequence[tuple[float, float]]  # (size, seconds)


def draw_growth(
    measured: Mapping[str, Points],
    extrapolated: Mapping[str, Points],
    size_name: str,
    path: str | Path,
) -> None:
    """Draw seconds over size, on log scales if the sizes span two orders of magnitude.

    Args:
        measured: label to points of each line.
        extrapolated: label to points of the fitted line, drawn hollow and dashed.
        size_name: label of the horizontal axis.
        path: image file to write; its suffix chooses the format.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for index, (label, points) in enumerate(measured.items()):
        style: dict[str, Any] = {
            "color": COLORS[index % len(COLORS)],
            "markersize": 3.5,
            "linewidth": 1.3,
        }
        if beyond := extrapolated.get(label):
            axes.plot(
                *zip(points[-1], *beyond, strict=True), "o--", markerfacecolor="white", **style
            )
        axes.plot(*zip(*points, strict=True), "o-", label=label, **style)
    sizes = [size for points in (*measured.values(), *extrapolated.values()) for size, _ in points]
    if max(sizes) >= 100 * min(sizes):
        axes.set(xscale="log", yscale="log")
    else:
        axes.set(xlim=(0, None), ylim=(0, None))
    axes.set(xlabel=size_name, ylabel="seconds")
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)
