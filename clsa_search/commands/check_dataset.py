"""Check a dataset on disk: files, counts, boxes, identities, queries, galleries.

    clsa-check-dataset cuhk_sysu_gallery --draw 20 --output-dir output/check
    clsa-check-dataset cvat.json --id-field attributes.track_id --make-queries gallery.json

Decodes every image. Prints counts, peculiarities (notes) and errors (faults), and draws samples
with boxes and identities. The exit status is 1 if there are faults, 2 if the dataset cannot be
read.

--make-queries writes a copy of a JSON file with queries, and checks the copy: each person in two
images or more has one query, the largest box of the person; of several, the first in the file.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clsa_search.commands.argument_types import whole_number
from clsa_search.commands.dataset_arguments import (
    add_dataset_options,
    check_dataset_options,
    list_json_options,
    register_dataset,
)
from clsa_search.errors import reported_input_errors
from clsa_search.output_checks import check_output_file, check_output_folder, reported_writes
from clsa_search.wording import count_noun, to_printable


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="name of a dataset, or a custom JSON file (.json)")
    parser.add_argument(
        "--fast",
        action="store_true",
        help="read only the headers of images; cut and damaged files are overlooked",
    )
    parser.add_argument(
        "--draw", type=whole_number(), default=0, metavar="N", help="draw N sample images"
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=Path("output/check"),
        help="folder of the samples (default: %(default)s)",
    )
    parser.add_argument(
        "--make-queries", type=Path, metavar="OUT.json", help="copy a JSON file and add queries"
    )
    add_dataset_options(parser)
    args = parser.parse_args(argv)
    if args.make_queries and not (
        args.name.endswith(".json") and args.make_queries.suffix == ".json"
    ):
        parser.error("--make-queries: expected two .json files, one to read and one to write")
    return args


@reported_input_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Check a dataset and print the results."""
    args = parse_args(argv)
    check_dataset_options(args.name, args)
    if args.draw:
        check_output_folder(args.output_dir)
    if args.make_queries:
        _make_queries(args)
    else:
        register_dataset(args.name, args)
    name = str(args.make_queries or args.name)
    faults = _check(name, fast=args.fast)
    if args.draw:
        _draw(name, args.draw, args.output_dir)
    print(count_noun(faults, "fault"))
    if faults:
        raise SystemExit(1)


def _make_queries(args: argparse.Namespace) -> None:
    check_output_file(args.make_queries)
    from clsa_search.data import make_queries

    count = make_queries(
        args.name,
        args.make_queries,
        **list_json_options(args),
    )
    print(f"{args.make_queries}: {count_noun(count, 'query', 'queries')}")


def _check(name: str, *, fast: bool) -> int:
    """Print the results of the check and return the number of faults."""
    from tabulate import tabulate
    from tqdm import tqdm

    from clsa_search.data import get_records
    from clsa_search.data.validation import check_dataset

    with tqdm(total=len(get_records(name)), unit="image", desc="reading") as bar:
        report = check_dataset(name, fast=fast, on_image=bar.update)
    print(tabulate(report.counts, headers=[name, "found", "expected"]))
    for kind, messages in (("note", report.notes), ("fault", report.faults)):
        for message in messages:
            print(f"{kind}: {to_printable(message)}")
    return len(report.faults)


def _draw(name: str, count: int, folder: Path) -> None:
    from clsa_search.data import get_records
    from clsa_search.visualize.dataset_samples import draw_samples

    with reported_writes(folder):
        samples = draw_samples(get_records(name), count, folder)
    print(f"{count_noun(len(samples), 'sample')} in {folder}")
