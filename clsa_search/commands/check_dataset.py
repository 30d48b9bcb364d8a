"""Check a dataset on disk: files, counts, boxes, identities, queries, galleries.

    clsa-check-dataset cuhk_sysu_gallery --draw 20 --output-dir output/check

Prints counts, peculiarities (notes) and errors (faults), and draws samples with boxes and
identities. The exit status is 1 if there are faults, 2 if the dataset cannot be read.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clsa_search.errors import InputError, reported_input_errors


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="name of a dataset, or a custom JSON file (.json)")
    parser.add_argument("--draw", type=int, default=0, metavar="N", help="draw N sample images")
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=Path("output/check"),
        help="folder of the samples (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.draw < 0:
        parser.error(f"--draw is {args.draw}; expected 0 or more")
    return args


@reported_input_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Check a dataset and print the results."""
    args = parse_args(argv)
    from tabulate import tabulate

    from clsa_search.data.catalog import get_records
    from clsa_search.data.validation import check_dataset
    from clsa_search.visualize.dataset_samples import draw_samples
    from clsa_search.wording import count_noun

    with reported_input_errors():
        report = check_dataset(args.name)
        print(tabulate(report.counts, headers=[args.name, "found", "expected"]))
        for note in report.notes:
            print(f"note: {note}")
        for fault in report.faults:
            print(f"fault: {fault}")
        if args.draw:
            try:
                samples = draw_samples(get_records(args.name), args.draw, args.output_dir)
            except OSError as error:
                raise InputError(f"{args.output_dir}: cannot write: {error.strerror}") from error
            print(f"{count_noun(len(samples), 'sample')} in {args.output_dir}")
    print(count_noun(len(report.faults), "fault"))
    if report.faults:
        raise SystemExit(1)
