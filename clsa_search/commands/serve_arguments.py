"""Options and action of `clsa-search serve`."""

import argparse
from pathlib import Path

from clsa_search.commands.argument_types import number, whole_number
from clsa_search.commands.gallery_opening import open_gallery_of
from clsa_search.commands.people_arguments import add_watch_list_options
from clsa_search.commands.placement_arguments import (
    add_placement_options,
    get_placement_options,
    has_placement_options,
)
from clsa_search.structures import DEFAULT_SCORE_THRESHOLD


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the desk but those of all commands with a model."""
    add = parser.add_argument
    add("gallery", nargs="?", metavar="STORE", help="file, or http://HOST:19530/NAME of Milvus")
    add("--weights", help="checkpoint (default: the one that made the store)")
    add("--host", default="127.0.0.1", help="address to listen at; others need --token-file")
    add("--port", type=whole_number(0, 65535), default=8000, help="default 8000; 0: a free one")
    add("--token-file", type=Path, help="file with the token of the desk; made if missing")
    add(
        "--public-url", metavar="URL", help="address behind a proxy, as https://search.example.org/"
    )
    add(
        "--footage",
        nargs="+",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="folders to look for new files in; known files keep their options",
    )
    add("--rate", type=number(1e-6, 1000), help="sampled frames per second of new videos")
    add(
        "--min-score",
        type=number(0, 1),
        default=DEFAULT_SCORE_THRESHOLD,
        help="minimum detection score (default 0.5)",
    )
    add_placement_options(parser, "--start-time")
    add_watch_list_options(parser)


def check_serve_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Check the options; put the gallery into `args.store`."""
    if (args.gallery is None) == (args.store is None):
        parser.error("serve: expected one gallery: STORE, or --store STORE")
    args.store = args.store or args.gallery
    if not args.footage and (args.rate or has_placement_options(args)):
        parser.error("serve: cameras, times and --rate are those of new files; expected --footage")


def serve(args: argparse.Namespace) -> None:
    """Serve API and page until they are interrupted."""
    from clsa_search.desk import serve as serve_desk
    from clsa_search.desk.server import check_address, check_folders
    from clsa_search.retrieval.index_options import DEFAULT_RATE, IndexOptions
    from clsa_search.retrieval.watch_reports import WatchOptions

    # before the model is loaded
    check_address(args.host, args.token_file, args.public_url)
    check_folders(args.footage)
    options = IndexOptions(
        rate=args.rate or DEFAULT_RATE,
        **get_placement_options(args),  # type: ignore[arg-type]
    )
    with open_gallery_of(args, min_score=args.min_score) as gallery:
        serve_desk(
            gallery,
            host=args.host,
            port=args.port,
            token_file=args.token_file,
            public_url=args.public_url,
            folders=args.footage,
            options=options,
            watch=WatchOptions(args.false_alarms, args.hook or ()),
            on_ready=lambda url: print(f"{url}  Ctrl+C ends it", flush=True),
        )
