"""Tables, files and images that `clsa-eval` makes from its results."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsa_search.evaluation import Evaluation, Predictions, SearchOptions


def make_options(args: argparse.Namespace) -> "SearchOptions":
    """Return the options of the search that the command line asks for."""
    from clsa_search.evaluation import CBGM, KReciprocal, SearchOptions

    reranker: CBGM | KReciprocal | None = CBGM(*args.cbgm) if args.cbgm else None
    if args.k_reciprocal is not None:
        reranker = KReciprocal(*args.k_reciprocal)
    return SearchOptions(args.score_threshold, args.weight_by_score, reranker, args.compat)


def report_evaluation(
    args: argparse.Namespace,
    evaluation: "Evaluation",
    predictions: "Predictions",
    records: list[dict],
) -> None:
    """Print the tables; write the JSON file and the plots."""
    from clsa_search.evaluation.summary import collect_details, save_results

    details = collect_details(evaluation, records)
    _print_tables(evaluation, details)
    if path := _results_file(args):
        save_results(path, evaluation, predictions, details=details, options=_describe_run(args))
        print(f"results: {path}")
    if args.output_dir:
        _draw_plots(details, args.output_dir)


def _print_tables(evaluation: "Evaluation", details: dict[str, list]) -> None:
    from clsa_search.evaluation.summary import format_buckets, format_gallery_sizes, format_table

    print(f"{len(evaluation.searches[0].query_ids)} queries; in percent")
    print(f"search: protocol {evaluation.protocols[0].name!r}\n")
    print(format_table(evaluation.results), end="\n\n")
    print(format_table({"detection, labeled boxes": evaluation.labeled}), end="\n\n")
    print(format_buckets("height ratio", details["scale_ratio"]), end="\n\n")
    print(format_buckets("target height", details["target_height"]), end="\n\n")
    if len(details["gallery_size"]) > 1:
        print(format_gallery_sizes(details["gallery_size"]), end="\n\n")


def _draw_plots(details: dict[str, list], folder: Path) -> None:
    from clsa_search.visualize import draw_buckets, draw_gallery_sizes

    if len(details["gallery_size"]) > 1:
        draw_gallery_sizes(details["gallery_size"], folder / "gallery_size.png")
    buckets = {kind: details[kind] for kind in ("scale_ratio", "target_height")}
    draw_buckets(buckets, folder / "scale.png")
    print(f"plots: {folder / 'scale.png'}")


def _results_file(args: argparse.Namespace) -> Path | None:
    return args.json or (args.output_dir and args.output_dir / "results.json")


def _describe_run(args: argparse.Namespace) -> dict[str, Any]:
    """Return files and options for JSON."""
    files = {"dataset": args.dataset, "predictions": str(args.predictions)}
    return files | make_options(args).describe()


def report_comparison(
    args: argparse.Namespace,
    old_predictions: "Predictions",
    new: "Evaluation",
    predictions: "Predictions",
    records: list[dict],
) -> None:
    """Print and write the changes from the older file; draw the most changed queries."""
    from clsa_search.evaluation import compare_results, evaluate_protocols
    from clsa_search.evaluation.summary import format_comparison, save_json

    options = make_options(args)
    old = evaluate_protocols(old_predictions, new.protocols, options)
    comparisons = [compare_results(*pair) for pair in zip(old, new.searches, strict=True)]
    print(f"\nagainst {args.compare}, paired bootstrap over the queries:")
    for comparison in comparisons:
        print(format_comparison(comparison, args.sheets or 10))
    if path := _results_file(args):
        path = path.with_name("comparison.json")
        protocols = {comparison.protocol: comparison.describe() for comparison in comparisons}
        given = _describe_run(args) | {"compare": str(args.compare)}
        save_json(path, {"protocols": protocols, "options": given})
        print(f"comparison: {path}")
    if args.sheets:
        from clsa_search.visualize import draw_changes

        rows = comparisons[0].find_most_changed(args.sheets)
        sheets = draw_changes(
            {"before": (old_predictions, old[0]), "now": (predictions, new.searches[0])},
            records,
            new.protocols[0],
            comparisons[0].query_ids[rows].tolist(),
            args.output_dir / "changes",
            options,
        )
        print(f"changed queries: {_first_path(sheets) or 'none'}")


def draw_sheets(
    args: argparse.Namespace,
    evaluation: "Evaluation",
    predictions: "Predictions",
    records: list[dict],
) -> None:
    """Draw the rankings of some queries, and print the path of the first."""
    from clsa_search.visualize import draw_rankings

    sheets = draw_rankings(
        predictions,
        evaluation.searches[0],
        records,
        evaluation.protocols[0],
        args.output_dir / "sheets",
        make_options(args),
        count=args.sheets,
    )
    print(f"ranking sheets: {_first_path(sheets) or 'none, the dataset has no queries'}")


def _first_path(paths: Sequence[Path]) -> str:
    return str(paths[0]) if paths else ""
