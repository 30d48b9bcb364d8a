"""Index images and videos once, then search them as often as you like.

clsa-search index --weights model_final.pth --store street.db videos/ photo.jpg
clsa-search query --store street.db --image person.jpg
clsa-search query --store street.db --image a.jpg --person 2 --image b.jpg --person 1
clsa-search verdict street.db --query output/query/results.json --same 17 31 --other 40
clsa-search serve street.db
clsa-search list street.db
clsa-search delete street.db --camera door --before 2026-04-01 --yes
clsa-search export street.db case.zip --sighting 17 31
clsa-search copy street.db http://localhost:19530/street
clsa-search relink street.db videos/ /archive/videos/
clsa-search retime street.db videos/ --time-from name:%Y%m%d_%H%M%S --timezone Europe/Berlin
clsa-search prune street.db
clsa-search link street.db

`index` detects the people of images, folders and videos, and stores them. Indexed files are
skipped: after an interruption, the same command continues. The detections of a person in
consecutive frames are one sighting: `link` computes them for galleries that have none. `query`
prints the most similar sightings and writes a ranking sheet, an HTML report and results.json.
`verdict` stores which of them are the person. `serve` offers the search in a browser and as an HTTP
API, on this machine only unless there is a token. `relink` follows files that moved; `retime`
changes start times and cameras; neither indexes again. `prune` lists the sources whose files are
gone, and deletes them with --yes. `copy` copies a gallery, also between a file and a Milvus server.
The store is a file, or the address of a gallery on a Milvus server.

Exit status: 0; 1 after unreadable files; 2 after an error, named in the last line;
130 after Ctrl+C.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from clsa_search.commands.argument_types import number, whole_number
from clsa_search.commands.arguments import check_model_files, check_readable, check_store
from clsa_search.commands.detections_arguments import (
    add_detections_options,
    check_detections_options,
)
from clsa_search.commands.export_arguments import check_export_options
from clsa_search.commands.first_use import FIRST_USE
from clsa_search.commands.people_arguments import add_watch_list_options
from clsa_search.commands.placement_arguments import (
    add_placement_options,
    check_placement_options,
    has_placement_options,
)
from clsa_search.commands.query_arguments import add_query_options, check_query_options
from clsa_search.commands.serve_arguments import add_serve_options, check_serve_options
from clsa_search.commands.source_arguments import add_source_parsers
from clsa_search.commands.verdict_arguments import check_verdict_options
from clsa_search.errors import reported_input_errors
from clsa_search.output_checks import check_output_file
from clsa_search.structures import DEFAULT_SCORE_THRESHOLD

PRECISIONS = ("float32", "float16", "bfloat16")
_MAY_BE_NEGATIVE = (
    "--box",
    "--since",
    "--until",
    "--start-time",
    "--start",
    "--shift",
    "--before",
    "--after",
)


class _Subparser(argparse.ArgumentParser):
    """Parser that shows which weights there are if none are given."""

    def error(self, message: str) -> NoReturn:
        if "required" in message and "--weights" in message:
            print(FIRST_USE)
        super().error(message)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all subcommands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Subparser)
    _add_index(commands.add_parser("index", help="add images and videos to a store"))
    queried = commands.add_parser("query", help="search for a person")
    _add_common(queried)
    add_query_options(queried)
    served = commands.add_parser("serve", help="search in a browser")
    _add_common(served, needs_store=False)
    add_serve_options(served)
    add_source_parsers(commands)
    return parser


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command line."""
    parser = build_parser()
    args = parser.parse_args(join_negatives(argv))
    if args.command in ("index", "retime", "serve"):
        check_placement_options(args)
    if args.command == "retime" and not has_placement_options(args) and not args.shift:
        parser.error("retime: there is nothing to change; expected --start, --camera or others")
    if args.command == "export":
        check_export_options(args)
    if args.command == "verdict":
        check_verdict_options(args)
    if args.command == "index":
        check_detections_options(args)
        if args.watch is not None and args.detections is not None:
            parser.error("--watch with --detections; expected one of the two")
    if args.command == "serve":
        check_serve_options(parser, args)
    if args.command == "query" and (fault := check_query_options(args)):
        parser.error(fault)
    return args


def join_negatives(words: Sequence[str]) -> list[str]:
    """Join options and negative values, as --box=-5,61,181,188; argparse takes these for options.

    Args:
        words: arguments of the command line.
    """
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in _MAY_BE_NEGATIVE and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


@reported_input_errors()
def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(sys.argv[1:] if argv is None else argv)
    # wrong names show before the slow imports
    given = vars(args)
    check_model_files(given.get("weights"), config_file=given.get("config_file"))
    check_readable(given.get("detections"), given.get("detections_images"))
    _check_galleries(args)
    from clsa_search.commands import gallery_actions

    if status := gallery_actions.ACTIONS[args.command](args):
        raise SystemExit(status)


def _check_galleries(args: argparse.Namespace) -> None:
    """Check that the gallery exists, and that a new one can be written."""
    written = {"index": "store", "copy": "target"}.get(args.command)
    if args.command != "index":
        check_store(args.store)
    if written and "://" not in getattr(args, written):
        check_output_file(getattr(args, written), is_gallery=True)


def _add_common(parser: argparse.ArgumentParser, *, needs_store: bool = True) -> None:
    add = parser.add_argument
    add("--store", required=needs_store, help="file, or http://HOST:19530/NAME of Milvus")
    add("--config-file", help="config of the weights (default config.yaml beside them)")
    add("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    add("--precision", choices=PRECISIONS, help="arithmetic of the model (default float32)")


def _add_index(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH", help="images, videos, or folders of them")
    add("--weights", required=True, help="checkpoint of a trained model")
    add(
        "--rate",
        type=number(1e-6, 1000),
        help="sampled frames per second of a video (default 1, or all that have --detections)",
    )
    add(
        "--min-score",
        type=number(0, 1),
        default=DEFAULT_SCORE_THRESHOLD,
        help="minimum detection score (default 0.5)",
    )
    add("--batch-size", type=whole_number(1, 4096), default=8, help="images in a batch (default 8)")
    add(
        "--watch",
        type=number(0.1, 86400),
        metavar="SECONDS",
        help="look for new files so often, until the process is ended",
    )
    add_placement_options(parser, "--start-time")
    add_watch_list_options(parser)
    add("--audit", action="store_true", help="log what retention deletes")
    add_detections_options(parser)
