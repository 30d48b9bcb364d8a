#!/usr/bin/env python
"""Evaluate a checkpoint on a dataset, or score a predictions file without model or images.

tools/eval_search.py --config-file configs/... --weights model_final.pth --dataset gallery.json
tools/eval_search.py --predictions predictions.npz --dataset gallery.json --sheets 20

Prints a table in percent; "chance" ranks the same detections at random. --output-dir receives
results.json, with what each query found, the sheets, and a checkpoint's predictions.npz.
"""

import argparse
from pathlib import Path

from clsa_search.data import get_records
from clsa_search.errors import reported_input_errors
from clsa_search.evaluation import (
    PREDICTIONS_FILE,
    Predictions,
    format_table,
    full_gallery_protocol,
    load_predictions,
    save_results,
    score_predictions,
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, help="a name, or an own-data file (.json)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--predictions", type=Path, help="score this file")
    source.add_argument("--config-file", help="evaluate a checkpoint of this config")
    parser.add_argument("--weights", help="the checkpoint; by default the config's MODEL.WEIGHTS")
    parser.add_argument("--output-dir", type=Path, help="by default the config's OUTPUT_DIR")
    parser.add_argument("--json", type=Path, help="write the results here instead")
    parser.add_argument(
        "--sheets", type=int, default=0, metavar="N", help="draw N queries' rankings"
    )
    parser.add_argument(
        "--score-threshold", type=float, default=0.5, help="detections below do not exist"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for the config")
    args = parser.parse_args(argv)
    if args.predictions and (args.weights or args.opts):
        parser.error("a predictions file needs no --weights and no KEY VALUE")
    if args.sheets < 0:
        parser.error(f"--sheets: {args.sheets}; expected a number of queries")
    if args.predictions and args.sheets and not args.output_dir:
        parser.error("--sheets needs --output-dir, the folder to draw into")
    return args


def predict(args: argparse.Namespace) -> Path:
    """Run the checkpoint over the dataset; returns the predictions file."""
    # here because scoring a file needs no model
    from clsa_search import engine

    for key, value in (("MODEL.WEIGHTS", args.weights), ("OUTPUT_DIR", args.output_dir)):
        args.opts += [key, str(value)] if value else []
    args.eval_only = True
    cfg = engine.setup(args)
    engine.predict(cfg, args.dataset, cfg.OUTPUT_DIR)
    args.output_dir = Path(cfg.OUTPUT_DIR)
    return args.output_dir / PREDICTIONS_FILE


def draw(args: argparse.Namespace, predictions: Predictions, records: list[dict]) -> None:
    # here because scoring a file needs no images
    from clsa_search.visualize import draw_rankings

    sheets = draw_rankings(
        predictions,
        records,
        full_gallery_protocol(records),
        args.output_dir / "sheets",
        count=args.sheets,
        score_threshold=args.score_threshold,
    )
    print(f"ranking sheets: {', '.join(map(str, sheets[:1])) or 'none, there are no queries'}")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reported_input_errors():
        records = get_records(args.dataset)
        path = args.predictions or predict(args)
        predictions = load_predictions(path)
        results, search = score_predictions(
            predictions, records, score_threshold=args.score_threshold, source=path
        )
        count = (predictions.scores >= args.score_threshold).sum()
        print(f"{path} on {args.dataset}: {len(records)} images, {count} detections,")
        print(f"{len(search.query_ids)} queries; in percent\n\n{format_table(results)}\n")
        if report := args.json or (args.output_dir and args.output_dir / "results.json"):
            save_results(report, results, search, predictions)
            print(f"results: {report}")
        if args.sheets:
            draw(args, predictions, records)


if __name__ == "__main__":
    main()
