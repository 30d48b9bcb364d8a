"""What a grid found, for programs and for people: ablation.json, ablation.md, scale_ratio.png."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.ablation.summary import Spread, VariantSummary
from benchmarks.ablation.variants import GRIDS
from clsa_search.evaluation.summary import finite_or_none
from clsa_search.visualize import draw_bucket_lines

BUCKETS = {"scale_ratio": "target height / query height", "target_height": "target height, pixels"}


def write_tables(
    output_dir: str | Path, summaries: Sequence[VariantSummary], about: Mapping[str, str]
) -> None:
    """Write the three files, in place of what an earlier call wrote; the plot has the main rows.

    Args:
        output_dir: exists.
        summaries: one or more rows.
        about: what was run, for the head of the table.
    """
    folder = Path(output_dir)
    save_summaries(folder / "ablation.json", summaries, about)
    (folder / "ablation.md").write_text(format_markdown(summaries, about), encoding="utf-8")
    drawn = [s for s in summaries if s.row.name in GRIDS["main"]] or summaries
    draw_bucket_lines(
        {s.row.label: list(s.spread["scale_ratio"].values()) for s in drawn},
        list(drawn[0].spread["scale_ratio"]),
        "scale_ratio",
        folder / "scale_ratio.png",
    )


def save_summaries(
    path: str | Path, summaries: Sequence[VariantSummary], about: Mapping[str, str]
) -> None:
    """Write everything as JSON: `about`, and for each row its runs, mean, deviation and change.

    Numbers that are not finite are null.
    """
    rows = {
        row.name: {
            "label": row.label,
            "changes": dict(row.changes),
            "runs": runs,
            "spread": _as_dicts(spread),
            "baseline": row.baseline,
            "change": change and _as_dicts(change),
            "change_seeds": paired,
        }
        for row, runs, spread, change, paired in summaries
    }
    text = json.dumps(
        finite_or_none({"about": dict(about), "rows": rows}), indent=1, allow_nan=False
    )
    Path(path).write_text(text + "\n", encoding="utf-8")


def format_markdown(summaries: Sequence[VariantSummary], about: Mapping[str, str]) -> str:
    """The same as tables for people.

    Args:
        summaries: one or more rows.
        about: lines of a list at the top, what was run.
    """
    counts = sorted({len(summary.runs) for summary in summaries})
    seeds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    parts = [
        "\n".join(f"- {key}: {value}" for key, value in about.items()),
        "In percent: mean ± standard deviation of the sample over the seeds "
        f"({seeds} a row); differences are taken seed by seed.",
        _format_overview(summaries),
    ]
    for kind, title in BUCKETS.items():
        parts += [f"mAP by {title}:", _format_buckets(summaries, kind)]
        if any(summary.change for summary in summaries):
            parts += [
                f"Difference in mAP, by {title}:",
                _format_buckets(summaries, kind, change=True),
            ]
    parts += [
        "The levels: mAP of each alone, share of the queries for which two levels agree on the "
        "best match, and correlation of their similarities over all pairs of query and detection:",
        _format_levels(summaries),
    ]
    return "\n\n".join(parts) + "\n"


def _format_overview(summaries: Sequence[VariantSummary]) -> str:
    columns = ["row", "seeds", "mAP", "top-1", "difference in mAP", "to"]
    columns += ["mAP, annotated boxes", "detection AP"]
    lines = []
    labels = {summary.row.name: summary.row.label for summary in summaries}
    for row, runs, spread, change, _ in summaries:
        lines.append(
            [
                row.label,
                ", ".join(map(str, runs)),
                _show(spread["search"]["mAP"]),
                _show(spread["search"]["top1"]),
                _show(change["search"]["mAP"], signed=True) if change else "",
                labels[row.baseline] if change else "",
                _show(spread["gt_boxes"]["mAP"]),
                _show(spread["detection"]["AP"]),
            ]
        )
    return _format_table(columns, lines)


def _format_buckets(summaries: Sequence[VariantSummary], kind: str, *, change: bool = False) -> str:
    names = list(summaries[0].spread[kind])
    targets = summaries[0].spread[f"targets_by_{kind}"]
    lines = [["*targets*", *(f"*{targets[name].mean:.0f}*" for name in names)]]
    for summary in summaries:
        found = summary.change if change else summary.spread
        if found:
            cells = [_show(found[kind][name], signed=change) for name in names]
            lines.append([summary.row.label, *cells])
    return _format_table(["row", *names], lines)


def _format_levels(summaries: Sequence[VariantSummary]) -> str:
    groups = {"level": ("{} mAP", 1), "agreement": ("{} agree", 1), "correlation": ("{} corr.", 2)}
    columns = {
        (group, name): header.format(name)
        for group, (header, _) in groups.items()
        # of rows with different levels, their stages' names sort from the lowest up
        for name in sorted({name for summary in summaries for name in summary.spread[group]})
    }
    lines = [
        [summary.row.label]
        + [
            _show(summary.spread[group][name], digits=groups[group][1])
            if name in summary.spread[group]
            else ""
            for group, name in columns
        ]
        for summary in summaries
    ]
    return _format_table(["row", *columns.values()], lines)


def _format_table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _show(spread: Spread, *, signed: bool = False, digits: int = 1) -> str:
    if not math.isfinite(spread.mean):
        return "–"
    mean = f"{spread.mean:{'+' if signed else ''}.{digits}f}"
    return f"{mean} ± {spread.deviation:.{digits}f}" if math.isfinite(spread.deviation) else mean


def _as_dicts(spread: dict[str, dict[str, Spread]]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        group: {name: value._asdict() for name, value in values.items()}
        for group, values in spread.items()
    }
