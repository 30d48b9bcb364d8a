"""Output files of the ablation: ablation.json, ablation.md and scale_ratio.png."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.ablation.summary import Spread, Spreads, VariantSummary
from benchmarks.ablation.variants import GRIDS, VARIANTS
from clsa_search.evaluation.summary import finite_or_none
from clsa_search.visualize import draw_bucket_lines

BUCKETS = {"scale_ratio": "target height / query height", "target_height": "target height, pixels"}


def write_tables(
    output_dir: str | Path, summaries: Sequence[VariantSummary], about: Mapping[str, str]
) -> None:
    """Write the three files, replacing those of an earlier call; the plot has the main variants.

    Args:
        output_dir: existing folder.
        summaries: one or more variants.
        about: description of the runs for the head of the table.
    """
    folder = Path(output_dir)
    save_summaries(folder / "ablation.json", summaries, about)
    (folder / "ablation.md").write_text(format_markdown(summaries, about), encoding="utf-8")
    plotted = [s for s in summaries if s.variant.name in GRIDS["main"]] or summaries
    draw_bucket_lines(
        {s.variant.label: [v[:2] for v in s.spread["scale_ratio"].values()] for s in plotted},
        list(plotted[0].spread["scale_ratio"]),
        "scale_ratio",
        folder / "scale_ratio.png",
    )


def save_summaries(
    path: str | Path, summaries: Sequence[VariantSummary], about: Mapping[str, str]
) -> None:
    """Write `about` and the runs, spread and change of each variant as JSON; non-finite is null.

    Args:
        path: file to write.
        summaries: one or more variants.
        about: description of the runs.
    """
    variants = {
        variant.name: {
            "label": variant.label,
            "changes": dict(variant.changes),
            "runs": runs,
            "spread": _as_dicts(spread),
            "baseline": variant.baseline,
            "change": change and _as_dicts(change),
            "change_seeds": paired,
        }
        for variant, runs, spread, change, paired in summaries
    }
    text = json.dumps(
        finite_or_none({"about": dict(about), "variants": variants}), indent=1, allow_nan=False
    )
    Path(path).write_text(text + "\n", encoding="utf-8")


def format_markdown(summaries: Sequence[VariantSummary], about: Mapping[str, str]) -> str:
    """Return the summaries as Markdown tables.

    Args:
        summaries: one or more variants.
        about: description of the runs, as a list at the top.
    """
    counts = sorted({len(summary.runs) for summary in summaries})
    seeds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    parts = [
        "\n".join(f"- {key}: {value}" for key, value in about.items()),
        "In percent: mean ± half of its 95 % interval over the seeds (Student's t; "
        f"{seeds} per variant). Differences are taken seed by seed. far, near: targets less than "
        "0.354 times and at least 2.83 times as tall as the query. rho: correlation of the lowest "
        "and the highest level's similarities over pairs of different people.",
        *_format_comparisons(summaries),
    ]
    for kind, title in BUCKETS.items():
        parts += [f"mAP by {title}:", _format_buckets(summaries, kind)]
        if any(summary.change for summary in summaries):
            parts += [
                f"Difference in mAP, by {title}:",
                _format_buckets(summaries, kind, change=True),
            ]
    parts += [
        "Levels: mAP of each level alone, share of queries with the same best match in two "
        "levels, and correlation of their similarities over all pairs of query and detection:",
        _format_levels(summaries),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _format_comparisons(summaries: Sequence[VariantSummary]) -> list[str]:
    """Return a title and a table for each baseline: its own line, then all compared with it."""
    parts = []
    labels = {summary.variant.name: summary.variant.label for summary in summaries}
    for baseline in dict.fromkeys(summary.variant.baseline for summary in summaries):
        own = [s for s in summaries if s.variant.name == baseline]
        rest = [s for s in summaries if s.variant.baseline == baseline and s not in own]
        if rest or own:
            parts.append(f"Compared with *{labels.get(baseline, VARIANTS[baseline].label)}*:")
            parts.append(_format_overview(own + rest, baseline))
    return parts


def _format_overview(summaries: Sequence[VariantSummary], baseline: str) -> str:
    levels = sorted({level for summary in summaries for level in summary.spread["level"]})
    images = all("gt_boxes" in summary.spread for summary in summaries)
    columns = ["variant", "seeds", "mAP", "difference", "top-1", "far", "difference", "near"]
    columns += ["difference", "rho", *(f"{level} alone" for level in levels)]
    columns += ["mAP, ground-truth boxes", "detection AP"] if images else []
    lines = []
    for summary in summaries:
        compared = summary.variant.name != baseline
        change = (summary.change if compared else None) or {}
        show = partial(_show_metric, summary.spread)
        differ = partial(_show_metric, change, signed=True)
        line = [summary.variant.label, ", ".join(map(str, summary.runs))]
        line += [show("search", "mAP"), differ("search", "mAP"), show("search", "top1")]
        line += [show("scale", "far"), differ("scale", "far")]
        line += [show("scale", "near"), differ("scale", "near")]
        line += [_show_rho(summary), *(show("level", level) for level in levels)]
        line += [show("gt_boxes", "mAP"), show("detection", "AP")] if images else []
        lines.append(line)
    return _format_table(columns, lines)


def _show_rho(summary: VariantSummary) -> str:
    """Return the correlation of the lowest and the highest level."""
    pairs, levels = summary.spread["rho"], list(summary.spread["level"])
    return _show(pairs[f"{levels[0]}, {levels[-1]}"], digits=2) if pairs else ""


def _show_metric(spread: Spreads, group: str, name: str, *, signed: bool = False) -> str:
    metrics = spread.get(group, {})
    return _show(metrics[name], signed=signed) if name in metrics else ""


def _format_buckets(summaries: Sequence[VariantSummary], kind: str, *, change: bool = False) -> str:
    names = list(summaries[0].spread[kind])
    targets = summaries[0].spread[f"targets_by_{kind}"]
    lines = [["*targets*", *(f"*{targets[name].mean:.0f}*" for name in names)]]
    for summary in summaries:
        found = summary.change if change else summary.spread
        if found:
            cells = [_show(found[kind][name], signed=change) for name in names]
            lines.append([summary.variant.label, *cells])
    return _format_table(["variant", *names], lines)


def _format_levels(summaries: Sequence[VariantSummary]) -> str:
    groups = {"level": ("{} mAP", 1), "agreement": ("{} agree", 1), "correlation": ("{} corr.", 2)}
    columns = {
        (group, name): header.format(name)
        for group, (header, _) in groups.items()
        # Stage names sort from the lowest level up.
        for name in sorted({name for summary in summaries for name in summary.spread[group]})
    }
    lines = [
        [summary.variant.label]
        + [
            _show(summary.spread[group][name], digits=groups[group][1])
            if name in summary.spread[group]
            else ""
            for group, name in columns
        ]
        for summary in summaries
    ]
    return _format_table(["variant", *columns.values()], lines)


def _format_table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _show(spread: Spread, *, signed: bool = False, digits: int = 1) -> str:
    if not math.isfinite(spread.mean):
        return "–"
    mean = f"{spread.mean:{'+' if signed else ''}.{digits}f}"
    return f"{mean} ± {spread.margin:.{digits}f}" if math.isfinite(spread.margin) else mean


def _as_dicts(spread: Spreads) -> dict[str, dict[str, dict[str, float]]]:
    return {
        group: {name: value._asdict() for name, value in values.items()}
        for group, values in spread.items()
    }
