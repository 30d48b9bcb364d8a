"""Evaluate a checkpoint on a dataset, or score a predictions file, without a model.

tools/eval_search.py --config-file configs/... --weights model_final.pth --dataset gallery.json
tools/eval_search.py --predictions predictions.npz --dataset gallery.json --sheets 20
tools/eval_search.py --predictions new.npz --compare old.npz --dataset gallery.json

Prints tables in percent: "search" under the first protocol, "search_<protocol>" under each further
one; "gt_boxes" with annotated boxes in place of detections; "chance" ranks the same detections at
random. --output-dir receives results.json, with what each query found, plots, the sheets, and a
checkpoint's predictions.npz; only the sheets need images. With --compare the sheets are of the
queries that changed the most, and comparison.json, beside the results, says how each changed.
"""

import argparse
from pathlib import Path
from typing import Any

from clsa_search.data import get_records
from clsa_search.errors import reported_input_errors
from clsa_search.evaluation import (
    CBGM,
    COMPATIBILITIES,
    GT_PREDICTIONS_FILE,
    PREDICTIONS_FILE,
    Evaluation,
    KReciprocal,
    Predictions,
    SearchOptions,
    check_annotated,
    check_predictions,
    compare_results,
    evaluate_protocols,
    format_table,
    load_predictions,
    load_protocols,
    save_results,
    score_protocols,
)
from clsa_search.evaluation.summary import (
    collect_details,
    format_buckets,
    format_comparison,
    format_gallery_sizes,
    save_json,
)


def to_number(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", required=True, help="a name, or an own-data file (.json)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--predictions", type=Path, help="score this file")
    source.add_argument("--config-file", help="evaluate a checkpoint of this config")
    add("--weights", help="the checkpoint; by default the config's MODEL.WEIGHTS")
    add("--protocols", nargs="+", metavar="NAME", help="by default the dataset's own")
    add("--compare", type=Path, metavar="FILE", help="predictions to compare with: old ones")
    add("--gt-boxes", action="store_true", help="have the checkpoint describe annotated boxes too")
    add("--gt-predictions", type=Path, metavar="FILE", help="a predictions_gt.npz, made by that")
    add("--score-threshold", type=float, default=0.5, help="detections below do not exist")
    add("--weight-by-score", action="store_true", help="similarity times detection score")
    rerankers = parser.add_mutually_exclusive_group()
    rerankers.add_argument(
        "--cbgm", type=int, nargs=2, metavar=("K1", "K2"), help="10 3 on CUHK-SYSU, 30 4 on PRW"
    )
    rerankers.add_argument(
        "--k-reciprocal",
        type=to_number,
        nargs="*",
        metavar="K1 K2 LAMBDA",
        help="Zhong et al., 2017; by default 20 6 0.3, theirs",
    )
    add("--compat", choices=COMPATIBILITIES, help="numbers as another code base makes them")
    add("--output-dir", type=Path, help="by default the config's OUTPUT_DIR")
    add("--json", type=Path, help="write the results here instead")
    add("--sheets", type=int, default=0, metavar="N", help="draw N queries' rankings")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for the config")
    return parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.predictions and (args.weights or args.opts or args.gt_boxes):
        parser.error("a predictions file needs no --weights, no --gt-boxes and no KEY VALUE")
    if args.config_file and args.gt_predictions:
        parser.error("--gt-predictions goes with --predictions; a checkpoint takes --gt-boxes")
    if args.k_reciprocal and len(args.k_reciprocal) != 3:
        parser.error(f"--k-reciprocal: {len(args.k_reciprocal)} numbers; expected K1 K2 LAMBDA")
    if args.json and args.json.is_dir():
        parser.error(f"--json: {args.json} is a folder; expected a file to write")
    if args.output_dir and args.output_dir.exists() and not args.output_dir.is_dir():
        parser.error(f"--output-dir: {args.output_dir} is a file; expected a folder")
    if args.sheets < 0:
        parser.error(f"--sheets: {args.sheets}; expected a number of queries")
    if args.predictions and args.sheets and not args.output_dir:
        parser.error("--sheets needs --output-dir, the folder to draw into")
    return args


def predict(args: argparse.Namespace) -> Path:
    """Run the checkpoint over the dataset; returns the predictions file, which is not scored."""
    # here because scoring a file needs no model
    from clsa_search import engine

    for key, value in (("MODEL.WEIGHTS", args.weights), ("OUTPUT_DIR", args.output_dir)):
        args.opts += [key, str(value)] if value else []
    args.eval_only = True
    cfg = engine.setup(args)
    engine.keep_freed_memory(cfg.MODEL.DEVICE)
    engine.predict(cfg, args.dataset, cfg.OUTPUT_DIR, protocols=(), gt_boxes=args.gt_boxes)
    args.output_dir = Path(cfg.OUTPUT_DIR)
    if args.gt_boxes:
        args.gt_predictions = args.output_dir / GT_PREDICTIONS_FILE
    return args.output_dir / PREDICTIONS_FILE


def collect_options(args: argparse.Namespace) -> SearchOptions:
    """How similarities are made, for everything that ranks."""
    reranker = CBGM(*args.cbgm) if args.cbgm else None
    if args.k_reciprocal is not None:
        reranker = KReciprocal(*args.k_reciprocal)
    return SearchOptions(args.score_threshold, args.weight_by_score, reranker, args.compat)


def load_checked(path: Path | None, records: list[dict]) -> Predictions | None:
    """A file of this dataset, before anything is made that it would be put beside."""
    if path is None:
        return None
    predictions = load_predictions(path)
    check_predictions(predictions, records, path)
    return predictions


def report(
    args: argparse.Namespace, evaluation: Evaluation, predictions: Predictions, records: list[dict]
) -> None:
    """Print the tables; write JSON and plots where they are wanted."""
    details = collect_details(evaluation, records)
    sizes = details["gallery_size"]
    print(f"{len(evaluation.searches[0].query_ids)} queries; in percent")
    print(f"search: protocol {evaluation.protocols[0].name!r}\n")
    print(format_table(evaluation.results), end="\n\n")
    print(format_table({"detection, labeled people": evaluation.labeled}), end="\n\n")
    print(format_buckets("height ratio", details["scale_ratio"]), end="\n\n")
    print(format_buckets("target height", details["target_height"]), end="\n\n")
    if len(sizes) > 1:
        print(format_gallery_sizes(sizes), end="\n\n")
    if path := results_file(args):
        given = describe_run(args)
        save_results(path, evaluation, predictions, details=details, options=given)
        print(f"results: {path}")
    if args.output_dir:
        # here because a table needs no pictures
        from clsa_search.visualize import draw_buckets, draw_gallery_sizes

        if len(sizes) > 1:
            draw_gallery_sizes(sizes, args.output_dir / "gallery_size.png")
        draw_buckets(
            {kind: details[kind] for kind in ("scale_ratio", "target_height")},
            args.output_dir / "scale.png",
        )
        print(f"plots: {args.output_dir / 'scale.png'}")


def results_file(args: argparse.Namespace) -> Path | None:
    return args.json or (args.output_dir and args.output_dir / "results.json")


def describe_run(args: argparse.Namespace) -> dict[str, Any]:
    """What was scored and how, for JSON."""
    files = {"predictions": args.predictions, "gt_predictions": args.gt_predictions}
    named = {kind: path and str(path) for kind, path in files.items()}
    return {"dataset": args.dataset} | named | collect_options(args).describe()


def compare(
    args: argparse.Namespace,
    old_predictions: Predictions,
    new: Evaluation,
    predictions: Predictions,
    records: list[dict],
) -> None:
    """Print and write how the file differs from the old one; draw the most changed queries."""
    options = collect_options(args)
    old = evaluate_protocols(old_predictions, new.protocols, options)
    pairs = zip(old, new.searches, strict=True)
    comparisons = [compare_results(*pair) for pair in pairs]
    print(f"\nagainst {args.compare}, paired bootstrap over the queries:")
    for comparison in comparisons:
        print(format_comparison(comparison, args.sheets or 10))
    if path := results_file(args):
        path = path.with_name("comparison.json")
        protocols = {comparison.protocol: comparison.describe() for comparison in comparisons}
        given = describe_run(args) | {"compare": str(args.compare)}
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
        print(f"changed queries: {', '.join(map(str, sheets[:1])) or 'none'}")


def draw(
    args: argparse.Namespace, evaluation: Evaluation, predictions: Predictions, records: list[dict]
) -> None:
    # here because scoring a file needs no images
    from clsa_search.visualize import draw_rankings

    sheets = draw_rankings(
        predictions,
        evaluation.searches[0],
        records,
        evaluation.protocols[0],
        args.output_dir / "sheets",
        collect_options(args),
        count=args.sheets,
    )
    print(f"ranking sheets: {', '.join(map(str, sheets[:1])) or 'none, there are no queries'}")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reported_input_errors():
        options = collect_options(args)
        records = get_records(args.dataset)
        build = options.build_protocol
        protocols = load_protocols(args.dataset, records, args.protocols, build=build)
        old_predictions = load_checked(args.compare, records)
        gt_predictions = load_checked(args.gt_predictions, records)
        if gt_predictions:
            check_annotated(gt_predictions, records, args.gt_predictions)
        args.predictions = args.predictions or predict(args)
        predictions = load_predictions(args.predictions)
        if args.gt_boxes:
            gt_predictions = load_predictions(args.gt_predictions)
        evaluation = score_protocols(
            predictions,
            records,
            protocols,
            options,
            gt_predictions=gt_predictions,
            source=args.predictions,
            gt_source=args.gt_predictions,
        )
        count = (predictions.scores >= args.score_threshold).sum()
        print(f"{args.predictions} on {args.dataset}: {len(records)} images, {count} detections,")
        report(args, evaluation, predictions, records)
        if old_predictions:
            compare(args, old_predictions, evaluation, predictions, records)
        elif args.sheets:
            draw(args, evaluation, predictions, records)
