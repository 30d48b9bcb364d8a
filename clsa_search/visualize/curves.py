"""Training curves from the metrics.json that Detectron2 writes beside its checkpoints."""

import json
import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clsa_search.errors import InputError

# Okabe and Ito's colors, made for color-blind readers; black is kept for the total
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f")
EVALUATIONS = ("search", "detection", "chance")
SMOOTHING = 0.06  # of the run's length, width of the moving average
LOG_RATIO = 30  # from this highest / lowest value on, losses are drawn on a log scale

Series = tuple[np.ndarray, np.ndarray]  # iterations (n,), values (n,)


def draw_curves(metrics_json: str | Path, path: str | Path) -> None:
    """Draw losses over iterations and, where the run was evaluated, its metrics in percent.

    A loss is drawn raw and faint, and smoothed by a centered moving average. Iterations that a
    resumed run repeated count once, as they came last.

    Args:
        metrics_json: JSON lines with `iteration`, `total_loss`, `loss_*`, and evaluations under
            names such as `search/mAP` (with several test sets: `<dataset>/search/mAP`).
        path: the picture; its suffix chooses the format.

    Raises:
        InputError: there is no such file, it is another one, or nothing in it can be drawn.
    """
    series = read_metrics(metrics_json)
    losses = {name: s for name, s in series.items() if name.rpartition("/")[2].startswith("loss_")}
    if "total_loss" in series:
        losses = {"total_loss": series["total_loss"]} | losses
    metrics = {name: s for name, s in series.items() if _is_evaluation(name)}
    panels = [
        (draw, data) for draw, data in ((_draw_losses, losses), (_draw_metrics, metrics)) if data
    ]
    if not panels:
        raise InputError(
            f"{metrics_json}: no loss and no metric; expected a training run's metrics"
        )
    figure = Figure(figsize=(5.2 * len(panels), 3.6), layout="constrained", facecolor="white")
    for axes, (draw, data) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        draw(axes, data)
        axes.set_xlabel("iteration")
        axes.grid(True, color="#e4e4e4", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}  # where no curve is
        axes.legend(fontsize=7, frameon=False, ncols=4, **below)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)


def read_metrics(metrics_json: str | Path) -> dict[str, Series]:
    """The finite values of every number in the file, by name and in the order of iterations.

    Torn lines, as a run leaves them that is stopped while it writes, are passed over.

    Raises:
        InputError: there is no such file, or a line of JSON is not an object with `iteration`.
    """
    try:
        lines = Path(metrics_json).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{metrics_json}: not a readable file: {error.strerror}") from error
    values: dict[str, dict[int, float]] = {}
    for number, line in enumerate(lines, start=1):
        entry = _parse_line(line, f"{metrics_json}: line {number}")
        for name, value in entry.items():
            if name != "iteration" and type(value) in (int, float) and math.isfinite(value):
                values.setdefault(name, {})[entry["iteration"]] = value
    return {
        name: (np.array(sorted(points)), np.array([points[i] for i in sorted(points)]))
        for name, points in values.items()
    }


def _parse_line(line: str, where: str) -> dict:
    """The line's entry; nothing of a torn one, which no longer is JSON."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    if not isinstance(entry, dict) or not isinstance(entry.get("iteration"), int):
        raise InputError(f"{where} is {line[:80]!r}; expected a JSON object with 'iteration'")
    return entry


def _is_evaluation(name: str) -> bool:
    group = name.split("/")[-2:-1]
    return bool(group) and group[0].startswith(EVALUATIONS)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Moving average (n,) over a centered window of `width` values, narrower toward the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    reach = np.minimum(np.minimum(places, places[::-1]), width // 2)
    return (sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)


def _draw_losses(axes: Axes, losses: dict[str, Series]) -> None:
    for place, (name, (iterations, values)) in enumerate(losses.items()):
        total = name == "total_loss"
        color = "black" if total else COLORS[place % len(COLORS)]
        width = max(1, round(SMOOTHING * len(values)))
        axes.plot(iterations, values, color=color, alpha=0.18, linewidth=0.7)
        axes.plot(
            iterations,
            smooth(values, width),
            "-" if place < len(COLORS) else "--",
            color=color,
            linewidth=1.8 if total else 1.1,
            label=name.replace("loss_", "").replace("_", " "),
        )
    lowest = min(values.min() for _, values in losses.values())
    if 0 < lowest * LOG_RATIO < max(values.max() for _, values in losses.values()):
        axes.set_yscale("log")
    axes.set_ylabel("loss")


def _draw_metrics(axes: Axes, metrics: dict[str, Series]) -> None:
    """Search solid, detection dashed, chance dotted in the color of what it is the chance of."""
    styles = dict(zip(EVALUATIONS, ("-", "--", ":"), strict=True))
    colors: dict[str, str] = {}
    for name, (iterations, values) in metrics.items():
        group, metric = name.split("/")[-2:]
        kind = next(kind for kind in EVALUATIONS if group.startswith(kind))
        axes.plot(
            iterations,
            values,
            styles[kind],
            color=colors.setdefault(metric, COLORS[len(colors) % len(COLORS)]),
            marker="" if kind == "chance" and len(values) > 1 else "o",
            markersize=3.5,
            linewidth=1.3,
            label=name.replace("/", " "),
        )
    axes.set(ylabel="%", ylim=(0, 102))
