"""Training curves from Detectron2's metrics.json."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clsa_search.errors import InputError
from clsa_search.json_files import parse_json

# the palette of Okabe and Ito, made for color-blind readers; black is kept for the total
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f")
EVALUATIONS = ("search", "detection", "chance")
SMOOTHING = 0.06  # width of the moving average, share of the length of the run
LOG_RATIO = 30  # use a logarithmic scale above this ratio of highest to lowest loss

Series = tuple[np.ndarray, np.ndarray]  # iterations (n,), values (n,)


def draw_curves(metrics_json: str | Path, path: str | Path) -> None:
    """Draw losses over iterations and, if the run was evaluated, its metrics in percent.

    Each loss is drawn twice: raw and faint, and smoothed by a centered moving average. If a
    resumed run repeats iterations, the last value of each counts.

    Args:
        metrics_json: JSON lines with `iteration`, `total_loss`, `loss_*`, and evaluations under
            names such as `search/mAP` (with several test sets: `<dataset>/search/mAP`).
        path: image file to write; its suffix chooses the format.

    Raises:
        InputError: the file is missing, malformed, or holds neither losses nor metrics.
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
            f"{metrics_json}: no loss and no metric; expected the metrics.json of a training run"
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
        # below the plot, to hide no curve
        axes.legend(
            fontsize=7, frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.16)
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)


def read_metrics(metrics_json: str | Path) -> dict[str, Series]:
    """Read the finite values of every number in the file, in the order of iterations.

    Skip torn lines, left by a run stopped while writing.

    Returns:
        Name to iterations and values.

    Raises:
        InputError: the file cannot be read, or a line of JSON is not an object with `iteration`.
    """
    try:
        lines = Path(metrics_json).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{metrics_json}: not a readable file: {error.strerror}") from error
    values: dict[str, dict[int, float]] = {}
    for number, line in enumerate(lines, start=1):
        numbers = _parse_line(line, f"{metrics_json}: line {number}")
        for name, value in numbers.items():
            if name != "iteration" and _is_finite(value):
                values.setdefault(name, {})[numbers["iteration"]] = value
    return {
        name: (np.array(sorted(points)), np.array([points[i] for i in sorted(points)]))
        for name, points in values.items()
    }


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Return the centered moving average, with a narrower window toward the ends.

    Args:
        values: (n,).
        width: number of values in the window.

    Returns:
        (n,).
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    positions = np.arange(len(values))
    reach = np.minimum(np.minimum(positions, positions[::-1]), width // 2)
    return (sums[positions + reach + 1] - sums[positions - reach]) / (2 * reach + 1)


def _parse_line(line: str, name: str) -> dict:
    """Return the object of a line, empty if the line is not JSON."""
    try:
        value = parse_json(line, name)
    except InputError:
        return {}
    if not isinstance(value, dict) or not _is_iteration(value.get("iteration")):
        raise InputError(f"{name} is {line[:80]!r}; expected a JSON object with 'iteration'")
    return value


def _is_iteration(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _is_evaluation(name: str) -> bool:
    group = name.split("/")[-2:-1]
    return bool(group) and group[0].startswith(EVALUATIONS)


def _draw_losses(axes: Axes, losses: Mapping[str, Series]) -> None:
    for index, (name, (iterations, values)) in enumerate(losses.items()):
        total = name == "total_loss"
        color = "black" if total else COLORS[index % len(COLORS)]
        width = max(1, round(SMOOTHING * len(values)))
        axes.plot(iterations, values, color=color, alpha=0.18, linewidth=0.7)
        axes.plot(
            iterations,
            smooth(values, width),
            "-" if index < len(COLORS) else "--",
            color=color,
            linewidth=1.8 if total else 1.1,
            label=name.replace("loss_", "").replace("_", " "),
        )
    lowest = min(values.min() for _, values in losses.values())
    if 0 < lowest * LOG_RATIO < max(values.max() for _, values in losses.values()):
        axes.set_yscale("log")
    axes.set_ylabel("loss")


def _draw_metrics(axes: Axes, metrics: Mapping[str, Series]) -> None:
    """Draw search solid, detection dashed, chance dotted; a color per metric."""
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
