"""Evaluate a checkpoint on a dataset, or score a predictions file without model and images.

clsa-eval --config-file clsa_crop_R50_prw --weights model_final.pth --dataset prw_gallery
clsa-eval --predictions predictions.npz --dataset gallery.json --output-dir out --sheets 20
clsa-eval --predictions new.npz --compare old.npz --dataset gallery.json

Prints tables in percent: "search" for the first protocol, "search_<protocol>" for each further one;
"gt_boxes", the upper bound of the re-ID with ground-truth boxes as detections, if the predictions
file holds them; "chance", the same detections with random embeddings. --output-dir receives
results.json with the results of every query, plots, ranking sheets, and the predictions.npz of a
checkpoint. Only the sheets read images. With --compare the sheets show the most changed queries,
and comparison.json next to the results lists the change of every query.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from clsa_search.commands.argument_types import number, whole_number
from clsa_search.commands.arguments import check_model_files, check_readable
from clsa_search.commands.dataset_arguments import (
    add_dataset_options,
    check_dataset_options,
    register_dataset,
)
from clsa_search.commands.detections_arguments import (
    add_detections_options,
    check_detections_options,
    read_dataset_detections,
)
from clsa_search.commands.evaluation_outputs import (
    draw_sheets,
    make_options,
    report_comparison,
    report_evaluation,
)
from clsa_search.errors import reported_input_errors
from clsa_search.evaluation.compat import COMPATIBILITIES
from clsa_search.evaluation.parameter_checks import check_cbgm, check_k_reciprocal
from clsa_search.output_checks import check_output_file, check_output_folder
from clsa_search.structures import DEFAULT_SCORE_THRESHOLD

if TYPE_CHECKING:
    from clsa_search.evaluation import Predictions


@reported_input_errors()
def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    # wrong names show before the slow imports
    check_model_files(args.weights, config_file=args.config_file)
    check_dataset_options(args.dataset, args)
    check_readable(args.predictions, args.compare, args.detections, args.detections_images)
    if args.cbgm:
        check_cbgm(*args.cbgm)
    if args.k_reciprocal:
        check_k_reciprocal(*args.k_reciprocal)
    if args.json:
        check_output_file(args.json)
    if args.output_dir:
        check_output_folder(args.output_dir)
    _run(args)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.predictions and (args.weights or args.opts or args.gt_boxes or args.detections):
        parser.error(
            "--predictions takes no --weights, no --gt-boxes, no --detections and no KEY VALUE"
        )
    check_detections_options(args)
    if args.k_reciprocal and len(args.k_reciprocal) != 3:
        parser.error(f"--k-reciprocal: {len(args.k_reciprocal)} numbers; expected K1 K2 LAMBDA")
    if args.predictions and args.sheets and not args.output_dir:
        parser.error("--sheets needs --output-dir, the folder to write to")
    return args


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", required=True, help="name of a dataset, or path of a custom JSON file")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--predictions", type=Path, metavar="FILE", help="score this file")
    source.add_argument("--config-file", help="evaluate a checkpoint with this config")
    add("--weights", help="checkpoint; default: MODEL.WEIGHTS of the config")
    add("--protocols", nargs="+", metavar="NAME", help="default: the dataset's own protocols")
    add("--compare", type=Path, metavar="FILE", help="older predictions file to compare with")
    add(
        "--gt-boxes",
        action="store_true",
        help="with --config-file: also embed ground-truth boxes, for the upper bound of the re-ID",
    )
    add(
        "--score-threshold",
        type=number(0, 1),
        default=DEFAULT_SCORE_THRESHOLD,
        help="drop detections with a lower score (default: %(default)s)",
    )
    add("--weight-by-score", action="store_true", help="multiply similarities by detection scores")
    _add_rerankers(parser)
    add("--compat", choices=COMPATIBILITIES, help="compute the numbers of another code base")
    add("--output-dir", type=Path, help="default: OUTPUT_DIR of the config")
    add("--json", type=Path, metavar="FILE", help="write the results to this file instead")
    add(
        "--sheets",
        type=whole_number(),
        default=0,
        metavar="N",
        help="draw the rankings of N queries",
    )
    add_dataset_options(parser)
    add_detections_options(parser)
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for the config")
    return parser


def _add_rerankers(parser: argparse.ArgumentParser) -> None:
    rerankers = parser.add_mutually_exclusive_group()
    rerankers.add_argument(
        "--cbgm",
        type=whole_number(1),
        nargs=2,
        metavar=("K1", "K2"),
        help="re-rank by context; 10 3 for CUHK-SYSU, 30 4 for PRW",
    )
    rerankers.add_argument(
        "--k-reciprocal",
        type=_to_parameter,
        nargs="*",
        metavar="K1 K2 LAMBDA",
        help="re-rank by k-reciprocal encoding; default: 20 6 0.3, as in the paper",
    )


def _to_parameter(text: str) -> int | float:
    return whole_number()(text) if text.isdecimal() else number()(text)


def _run(args: argparse.Namespace) -> None:
    from clsa_search.data import get_records
    from clsa_search.data.image_checks import check_images_exist
    from clsa_search.evaluation import load_predictions, load_protocols, score_protocols
    from clsa_search.evaluation.record_queries import check_queries

    options = make_options(args)
    register_dataset(args.dataset, args)
    records = get_records(args.dataset)
    if not args.predictions:  # faults show before the model is loaded and runs
        check_queries(args.dataset, records)
        check_images_exist(records)
    protocols = load_protocols(args.dataset, records, args.protocols, build=options.build_protocol)
    old = _load_checked(args.compare, records) if args.compare else None
    args.predictions = args.predictions or _extract(args, records)
    predictions = load_predictions(args.predictions)
    evaluation = score_protocols(predictions, records, protocols, options, source=args.predictions)
    count = (predictions.detections.values.scores >= args.score_threshold).sum()
    print(f"{args.predictions} on {args.dataset}: {len(records)} images, {count} detections,")
    report_evaluation(args, evaluation, predictions, records)
    if old:
        report_comparison(args, old, evaluation, predictions, records)
    elif args.sheets:
        draw_sheets(args, evaluation, predictions, records)


def _load_checked(path: Path, records: list[dict]) -> "Predictions":
    """Load predictions of this dataset, before anything else is written."""
    from clsa_search.evaluation import check_predictions, load_predictions

    predictions = load_predictions(path)
    check_predictions(predictions, records, path)
    return predictions


def _extract(args: argparse.Namespace, records: list[dict]) -> Path:
    """Run the checkpoint over the dataset and return the predictions file."""
    detections = read_dataset_detections(args, records)
    from clsa_search import engine
    from clsa_search.evaluation import PREDICTIONS_FILE

    for key, value in (("MODEL.WEIGHTS", args.weights), ("OUTPUT_DIR", args.output_dir)):
        args.opts += [key, str(value)] if value else []
    args.eval_only = True
    cfg = engine.setup(args)
    engine.keep_freed_memory(cfg.MODEL.DEVICE)
    engine.predict(
        cfg,
        args.dataset,
        cfg.OUTPUT_DIR,
        protocols=(),
        gt_boxes=args.gt_boxes,
        detections=detections,
    )
    args.output_dir = Path(cfg.OUTPUT_DIR)
    return args.output_dir / PREDICTIONS_FILE
