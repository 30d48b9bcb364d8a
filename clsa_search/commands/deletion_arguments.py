"""Options and action of `clsa-search delete` and `clsa-search retention`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from clsa_search.commands.argument_types import parsed_by, whole_number
from clsa_search.commands.placement_arguments import to_time
from clsa_search.wording import count_noun

if TYPE_CHECKING:
    from clsa_search.gallery import GalleryStore
    from clsa_search.retrieval.deletions import DeletionPlan, DeletionSelector

_PROBLEMS = 1  # exit status


def add_delete_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose what to delete."""
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="FILE", help="indexed files")
    add("--camera", nargs="+", metavar="NAME", help="sightings of these cameras")
    add("--before", type=to_time, metavar="TIME", help="sightings that end before this time")
    add("--after", type=to_time, metavar="TIME", help="sightings that begin after this time")
    add("--sighting", nargs="+", type=whole_number(1), metavar="ID", help="these sightings")
    add(
        "--person",
        metavar="NAME",
        help="the sightings of a person of the watch list, and its entry",
    )
    add("--yes", action="store_true", help="delete them; otherwise only count them")
    add("--force", action="store_true", help="delete more than half of the gallery too")
    add(
        "--erase",
        action="store_true",
        help="keep these people out when their files are indexed again; part of --person",
    )
    add(
        "--erased-in",
        metavar="STORE",
        help="people who were erased in another gallery, here and in later indexing",
    )
    add("--vacuum", action="store_true", help="write the file again without the freed space")
    add("--audit", action="store_true", help="log counts and kind, see `list --audit`")


def delete(args: argparse.Namespace) -> None:
    """Delete files and sightings from the gallery, or count them."""
    if args.erased_in is not None:
        return _delete_erased(args)
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.deletions import plan_deletion, run_deletion
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.watch_list import forget_person

    with open_store(args.store) as store:
        plan = plan_deletion(store, _select(store, args))
        _print_plan(args.store, plan)
        if not args.yes:
            print("nothing is deleted without --yes; the footage itself stays in any case")
            return
        erase = args.erase or args.person is not None
        options = {"force": args.force, "vacuum": args.vacuum, "audit": args.audit}
        count, left = run_deletion(store, plan, erase=erase, **options)
        if args.person is not None:
            left = forget_person(store, args.person)
        for path, deleted in plan.sources.items():
            print(f"{printable(path)}: {count_noun(deleted, 'detection')} deleted")
        print(f"{args.store}: {count_noun(count, 'detection')} deleted; the footage itself stays")
        print_left(left)


def print_left(reason: str | None) -> None:
    """Print why deleted bytes may still be on the disk, if they may be."""
    from clsa_search.retrieval.results import printable

    if reason is not None:
        print(f"note: {printable(reason)}", flush=True)


def scrub(args: argparse.Namespace) -> int:
    """Remove deleted bytes from the disk; return the exit status."""
    from clsa_search.gallery import open_store

    with open_store(args.store) as store:
        left = store.scrub(vacuum=args.vacuum)
    print_left(left)
    if left is None:
        print(f"{args.store}: holds nothing of what was deleted")
    return _PROBLEMS if left else 0


def _delete_erased(args: argparse.Namespace) -> None:
    """Delete the erased people of another gallery, and keep them out."""
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.audit_log import write_audit
    from clsa_search.retrieval.erasure import Suppression, find_erased, merge_erasures

    left = None
    with open_store(args.erased_in) as other, open_store(args.store) as store:
        ids = find_erased(store, Suppression(store, other))
        if args.yes:
            merge_erasures(store, other)
            store.delete_detections(ids)
            if args.audit:
                write_audit(store, "erase", ["erased_in"], len(ids))
            left = store.scrub(vacuum=args.vacuum)
    done = "deleted" if args.yes else "would be deleted; nothing is without --yes"
    print(f"{args.store}: {count_noun(len(ids), 'detection')} of erased people {done}")
    print_left(left)


def _select(store: "GalleryStore", args: argparse.Namespace) -> "DeletionSelector":
    from clsa_search.retrieval.deletions import DeletionSelector
    from clsa_search.retrieval.source_moves import find_source
    from clsa_search.retrieval.watch_list import list_sightings_of

    sightings = args.sighting
    if args.person is not None:
        of_person = list_sightings_of(store, args.person)
        sightings = of_person if sightings is None else sorted({*sightings} & {*of_person})
    indexed = set(store.paths()) if args.files else set()
    return DeletionSelector(
        sources=[find_source(path, indexed) for path in args.files] or None,
        cameras=args.camera,
        before=args.before,
        after=args.after,
        sightings=sightings,
    )


def _print_plan(address: str, plan: "DeletionPlan") -> None:
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.time_format import format_time

    for path, count in plan.sources.items():
        print(f"{printable(path)}: {count_noun(count, 'detection')}")
    span = ""
    if plan.first is not None:
        span = f", from {format_time(plan.first)} to {format_time(plan.last)}"
    sightings = f"{count_noun(len(plan.sightings), 'sighting')}, " if plan.sightings else ""
    print(
        f"{address}: {sightings}{plan.detections:,} of {count_noun(plan.total, 'detection')} "
        f"in {count_noun(plan.files, 'file')}{span}"
    )
    if plan.without_time:
        print(
            f"{count_noun(plan.without_time, 'sighting has', 'sightings have')} no such time (a "
            "date, or a time within a video) and cannot be chosen by one; `retime` gives dates"
        )


def add_retention_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the days by camera."""
    add = parser.add_argument
    add("days", nargs="*", type=parse_days, metavar="CAMERA=DAYS", help="*=DAYS: all others")
    add("--yes", action="store_true", help="delete what is too old now; otherwise only count it")
    add("--audit", action="store_true", help="log counts, see `list --audit`")


def retention(args: argparse.Namespace) -> None:
    """Set the days by camera, and delete or count what is too old."""
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.retention import (
        OTHERS,
        apply_retention,
        plan_retention,
        read_retention,
        set_retention,
    )

    with open_store(args.store) as store:
        days = set_retention(store, dict(args.days)) if args.days else read_retention(store)
        for camera, value in sorted(days.items()):
            print(f"{printable(camera)}: {value:g} {'day' if value == 1 else 'days'}")
        for camera in sorted({*days} - {OTHERS, *store.cameras()}):
            print(f"{printable(camera)}: has no sightings yet; `list` shows the cameras")
        plan = apply_retention(store, audit=args.audit) if args.yes else plan_retention(store)
    done = "deleted" if args.yes else "too old; `index` deletes them at its end, --yes now"
    print(
        f"{args.store}: {count_noun(len(plan.sightings), 'sighting')} with "
        f"{count_noun(plan.detections, 'detection')} {done}"
    )
    if plan.without_time:
        print(f"{count_noun(plan.without_time, 'sighting')} without a date: kept")
    print_left(plan.left)


@parsed_by
def parse_days(text: str) -> tuple[str, float | None]:
    """Return camera and days of an argument, see `parse_retention`."""
    from clsa_search.retrieval.retention import parse_retention

    return parse_retention(text)
