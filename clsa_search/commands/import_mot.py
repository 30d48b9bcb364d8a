"""Convert MOTChallenge folders to custom JSON files for training and evaluation.

    clsa-import-mot MOT17 datasets/mot17 --test-sequences MOT17-09-FRCNN

datasets/README.md describes the format and the options.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clsa_search.commands.argument_types import number, whole_number
from clsa_search.commands.arguments import check_readable
from clsa_search.data.datasets.mot_split import SPLITS
from clsa_search.errors import reported_input_errors
from clsa_search.output_checks import check_output_file, check_output_folder, reported_writes


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "source", help="folder of the sequences, of train/ with the sequences, or of one"
    )
    parser.add_argument("output_dir", help="folder for train.json and gallery.json")
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="sequence",
        help="what to hold out for the gallery; none: train and search the same frames",
    )
    parser.add_argument(
        "--test-sequences", nargs="+", default=[], metavar="NAME", help="sequences to hold out"
    )
    parser.add_argument("--test-fraction", type=number(0, 1), default=0.3, help="share to hold out")
    parser.add_argument(
        "--min-visibility",
        type=number(0, 1),
        default=0.3,
        help="less visible persons become unlabeled",
    )
    parser.add_argument(
        "--label", metavar="NAME", help="class of persons in gt/labels.txt, if it is not person"
    )
    parser.add_argument(
        "--frame-step", type=whole_number(1), default=1, help="step between frames; 1: all"
    )
    parser.add_argument(
        "--frame-rate", type=number(0), metavar="FPS", help="frames per second, without seqinfo.ini"
    )
    parser.add_argument("--copy", action="store_true", help="copy the frames to OUTPUT_DIR/images")
    parser.add_argument("--seed", type=whole_number(), default=0, help="seed of the random choices")
    return parser.parse_args(argv)


@reported_input_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Convert a folder and print the numbers of each file."""
    args = parse_args(argv)
    check_readable(args.source)
    check_output_folder(args.output_dir)
    for name in ("train.json", "gallery.json"):
        check_output_file(Path(args.output_dir) / name)
    from tabulate import tabulate

    from clsa_search.data.datasets.mot import import_mot

    with reported_writes(args.output_dir):
        counts = import_mot(**vars(args))
    rows = [[Path(args.output_dir) / f"{name}.json", *row.values()] for name, row in counts.items()]
    print(tabulate(rows, headers=["file", *counts["train"]]))
