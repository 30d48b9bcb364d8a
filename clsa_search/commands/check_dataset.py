"""Checks a dataset on disk: files, counts, boxes, identities, queries, galleries.

    python tools/check_dataset.py cuhk_sysu_gallery --draw 20 --output-dir output/check

Prints what was found, a line for every oddity (note) and everything wrong (fault), and draws
samples with boxes and identities. The exit status is 1 if there are faults, 2 if the dataset cannot
be read.
"""

import argparse
from pathlib import Path

from tabulate import tabulate

from clsa_search.data import get_records
from clsa_search.data.validation import check_dataset
from clsa_search.errors import reported_input_errors
from clsa_search.visualize.dataset_samples import draw_samples


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="a dataset's name, or an own-data file (.json)")
    parser.add_argument("--draw", type=int, default=0, metavar="N", help="draw N images")
    parser.add_argument("--output-dir", type=Path, default=Path("output/check"), help="for --draw")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reported_input_errors():
        report = check_dataset(args.name)
        rows = [(what, n, "" if right is None else right) for what, n, right in report.counts]
        print(tabulate(rows, headers=[args.name, "found", "expected"]))
        for kind, lines in (("note", report.notes), ("fault", report.faults)):
            for line in lines:
                print(f"{kind}: {line}")
        if args.draw:
            pictures = draw_samples(get_records(args.name), args.draw, args.output_dir)
            print(f"{len(pictures)} samples in {args.output_dir}")
    print(f"{len(report.faults)} faults")
    if report.faults:
        raise SystemExit(1)
