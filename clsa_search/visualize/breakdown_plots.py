"""Plots of search metrics over scale, target height and gallery size."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clsa_search.evaluation.breakdown import Bucket, GallerySize
from clsa_search.evaluation.summary import name_bucket
from clsa_search.visualize.curves import COLORS

_LABELS = {
    "scale_ratio": "target height / query height",
    "target_height": "target height, pixels",
}


def draw_buckets(buckets: Mapping[str, Sequence[Bucket]], path: str | Path) -> None:
    """Draw the mAP of each bucket as a bar below its number of targets, a panel per kind.

    Args:
        buckets: "scale_ratio" or "target_height" to its buckets; one without targets has no bar.
        path: image file to write; its suffix chooses the format.
    """
    figure = Figure(figsize=(5.2 * len(buckets), 3.4), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(buckets), squeeze=False)[0]
    for axes, (kind, values) in zip(panels, buckets.items(), strict=True):
        positions = range(len(values))
        bars = axes.bar(positions, [b.mAP if b.targets else 0 for b in values], color=COLORS[0])
        axes.bar_label(bars, [f"{b.targets}" if b.targets else "" for b in values], fontsize=7)
        axes.set_xticks(positions, [name_bucket(b) for b in values], rotation=35, ha="right")
        _finish(axes, _LABELS[kind], "mAP, %")
    _save(figure, path)


def draw_bucket_lines(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    names: Sequence[str],
    kind: str,
    path: str | Path,
) -> None:
    """Draw mAP over buckets, a line per model inside a band of one standard deviation.

    Args:
        lines: label to mean and deviation of each bucket; a deviation of NaN gives no band.
        names: labels of the buckets.
        kind: "scale_ratio" or "target_height".
        path: image file to write; its suffix chooses the format.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    positions = range(len(names))
    for index, (label, points) in enumerate(lines.items()):
        color = COLORS[index % len(COLORS)]
        means = [mean for mean, _ in points]
        low, high = zip(*[(m - d, m + d) for m, d in points], strict=True)
        axes.plot(positions, means, "o-", color=color, label=label, markersize=3.5, linewidth=1.3)
        axes.fill_between(positions, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_xticks(positions, names, rotation=35, ha="right")
    axes.legend(fontsize=8, frameon=False)
    _finish(axes, _LABELS[kind], "mAP, %")
    _save(figure, path)


def draw_gallery_sizes(sizes: Sequence[GallerySize], path: str | Path) -> None:
    """Draw top-1 and mAP over the number of gallery images, on a logarithmic scale."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    images = [size.images for size in sizes]
    lines = {"top-1": [s.top1 for s in sizes], "mAP": [s.mAP for s in sizes]}
    for color, (label, values) in zip(COLORS, lines.items(), strict=False):
        axes.plot(images, values, "o-", color=color, label=label, markersize=3.5)
    axes.set_xscale("log")
    axes.set_xticks(images, [f"{count:.0f}" for count in images], rotation=35, ha="right")
    axes.minorticks_off()
    axes.legend(fontsize=8, frameon=False)
    _finish(axes, "images in the gallery", "%")
    _save(figure, path)


def _finish(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set(xlabel=x_label, ylabel=y_label, ylim=(0, 108))
    axes.set_axisbelow(True)
    axes.grid(True, axis="y", color="#e4e4e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _save(figure: Figure, path: str | Path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)
