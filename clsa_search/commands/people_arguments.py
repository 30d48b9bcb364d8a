"""Options and actions of `clsa-search people`: the watch list."""

import argparse
from pathlib import Path

from clsa_search.commands.argument_types import number, parsed_by
from clsa_search.commands.deletion_arguments import print_left
from clsa_search.commands.gallery_opening import open_gallery_of
from clsa_search.commands.placement_arguments import to_time
from clsa_search.errors import InputError
from clsa_search.wording import count_noun

_PROBLEMS = 1  # exit status


def add_people_options(parser: argparse.ArgumentParser) -> None:
    """Add the actions on the watch list and their options."""
    actions = parser.add_subparsers(dest="action", required=True)
    added = actions.add_parser("add", help="add a person, or images of a known one")
    listed = actions.add_parser("list", help="list the people")
    hits = actions.add_parser("hits", help="list the sightings of a person")
    removed = actions.add_parser("remove", help="forget a person")
    for one in (added, listed, hits, removed):
        one.add_argument("store", help="file, or http://HOST:19530/NAME of Milvus")
    for one in (added, hits, removed):
        one.add_argument("name", metavar="NAME", help="name of the person")
    add = added.add_argument
    add("images", nargs="+", type=Path, metavar="IMAGE", help="images of the person, or folders")
    add("--until", type=to_time, metavar="TIME", help="end of the watch, as 2026-06-30")
    add("--note", default="", help="text beside the name")
    add("--past", action="store_true", help="compare the stored sightings too, not only new ones")
    add("--weights", help="checkpoint (default: the one that made the store)")
    add("--config-file", help="config of the weights (default config.yaml beside them)")
    add("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    add("--precision", choices=("float32", "float16", "bfloat16"), help="default float32")


def add_watch_list_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `index` and `serve` for the watch list."""
    add = parser.add_argument_group("after indexing").add_argument
    add(
        "--false-alarms",
        type=number(0, 1e6),
        default=1.0,
        metavar="N",
        help="strangers per day that the watch list may report (default 1)",
    )
    add(
        "--hook",
        type=to_hook,
        metavar="COMMAND",
        help="program that gets each hit as JSON on its standard input; no shell",
    )


@parsed_by
def to_hook(text: str) -> list[str]:
    """Return the words of a program, see `parse_hook`."""
    from clsa_search.retrieval.hook_command import parse_hook

    return parse_hook(text)


def people(args: argparse.Namespace) -> int | None:
    """Run an action on the watch list; return the exit status."""
    return _ACTIONS[args.action](args)


def _add(args: argparse.Namespace) -> int:
    import numpy as np

    from clsa_search.retrieval.reference_images import read_references
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.watch_list import add_person, check_until, load_stranger_count

    check_until(args.until)
    with open_gallery_of(args) as gallery:
        images, problems = read_references(gallery, args.images)
        for reason in problems:
            print(f"problem: {printable(reason)}")
        if not images:
            raise InputError(f"person {args.name!r}: no image can be used; expected one or more")
        rows = [gallery.predictor.embed(one.image, [one.box])[0] for one in images]
        options = {"note": args.note, "until": args.until, "is_past_compared": args.past}
        person = add_person(gallery.store, args.name, np.stack(rows), **options)
        is_calibrated = load_stranger_count(gallery.store) is not None
    total = count_noun(len(person.examples), "image")
    print(f"{args.store}: {printable(person.name)}: {total}; compared after each indexing")
    if not is_calibrated:
        print(f"no sighting is reported before `clsa-search calibrate {args.store}` succeeds")
    return _PROBLEMS if problems else 0


def _list(args: argparse.Namespace) -> None:
    import time

    from tabulate import tabulate

    from clsa_search.gallery import open_store
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.time_format import format_time
    from clsa_search.retrieval.watch_list import list_people, list_sightings_of

    with open_store(args.store) as store:
        rows = [
            (
                printable(one.name),
                len(one.examples),
                len(list_sightings_of(store, one.name)),
                format_time(one.until) + ("" if one.is_watched(time.time()) else " (ended)"),
                printable(one.note),
            )
            for one in list_people(store)
        ]
    print(tabulate(rows, ["name", "images", "sightings", "until", "note"], disable_numparse=True))


def _list_hits(args: argparse.Namespace) -> None:
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.time_format import format_time
    from clsa_search.retrieval.watch_list import list_sightings_of

    with open_store(args.store) as store:
        ids = list_sightings_of(store, args.name)
        for one in store.get_tracklets(ids, embeddings=False):
            times = f"{format_time(one.first)} to {format_time(one.last)}"
            camera = f"{one.camera}, " if one.camera else ""
            print(f"{one.tracklet_id}: {printable(f'{camera}{times}, {one.source}')}")
    print(f"{args.store}: {count_noun(len(ids), 'sighting')} of {printable(args.name)}")


def _remove(args: argparse.Namespace) -> None:
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.watch_list import forget_person

    with open_store(args.store) as store:
        left = forget_person(store, args.name)
    print(f"{args.store}: {printable(args.name)} is forgotten; sightings stay, see `delete`")
    print_left(left)


_ACTIONS = {"add": _add, "list": _list, "hits": _list_hits, "remove": _remove}
