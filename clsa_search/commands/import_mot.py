"""Turn MOTChallenge folders into own-data JSON files for train_net.py and eval_search.py.

    python tools/import_mot.py MOT17 datasets/mot17 --test-scenes MOT17-09-FRCNN

The format and the choices are described in datasets/README.md.
"""

import argparse
from pathlib import Path

from tabulate import tabulate

from clsa_search.data.datasets.mot import SPLITS, import_mot
from clsa_search.errors import reported_input_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("source", help="folder of the scenes, or of train/ with the scenes")
    parser.add_argument("output_dir", help="folder for train.json and gallery.json")
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="scene",
        help="what is held out for the gallery; none: train and search the same frames",
    )
    parser.add_argument(
        "--test-scenes", nargs="+", default=[], metavar="SCENE", help="scenes to hold out"
    )
    parser.add_argument("--test-fraction", type=float, default=0.3, help="share to hold out")
    parser.add_argument(
        "--min-visibility", type=float, default=0.3, help="people less visible are unlabeled"
    )
    parser.add_argument("--frame-step", type=int, default=1, help="take every so many-th frame")
    parser.add_argument("--copy", action="store_true", help="copy the frames to OUTPUT_DIR/images")
    parser.add_argument("--seed", type=int, default=0, help="of the random choice")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with reported_input_errors():
        counts = import_mot(
            args.source,
            args.output_dir,
            split=args.split,
            test_scenes=args.test_scenes,
            test_fraction=args.test_fraction,
            min_visibility=args.min_visibility,
            frame_step=args.frame_step,
            copy=args.copy,
            seed=args.seed,
        )
    rows = [[Path(args.output_dir) / f"{name}.json", *row.values()] for name, row in counts.items()]
    print(tabulate(rows, headers=["file", *counts["train"]]))
