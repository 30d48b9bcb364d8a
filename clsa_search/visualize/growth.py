"""How cost grows with a size."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from clsa_search.visualize.curves import COLORS

Points = Sequence[tuple[float, float]]


def draw_growth(
    measured: Mapping[str, Points], extrapolated: Mapping[str, Points], of: str, path: str | Path
) -> None:
    """Seconds over size, on log scales where the sizes are orders of magnitude apart.

    Args:
        measured: {label: (size, seconds)} of each line.
        extrapolated: of the same labels: what a fitted law says, drawn hollow and dashed.
        of: what grows.
        path: the picture; its suffix chooses the format.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for place, (label, points) in enumerate(measured.items()):
        style = {"color": COLORS[place % len(COLORS)], "markersize": 3.5, "linewidth": 1.3}
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
    axes.set(xlabel=of, ylabel="seconds")
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)
