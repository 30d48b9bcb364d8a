"""Actions of clsa-search on the sources of a gallery: link them, forget them, follow moves."""

import argparse

from clsa_search.commands.deletion_arguments import print_left
from clsa_search.commands.placement_arguments import get_placement_options
from clsa_search.wording import count_noun

_PROBLEMS = 1  # exit status


def link(args: argparse.Namespace) -> int:
    """Link the detections of videos, calibrate where needed; return the exit status."""
    from clsa_search.commands.calibration_arguments import print_calibration, print_problem
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.gallery_calibration import refresh_calibration
    from clsa_search.retrieval.results import count_sightings, printable
    from clsa_search.sightings.source_links import link_sources

    def show(source: str, tracklets: int) -> None:
        print(f"{printable(source)}: {count_noun(tracklets, 'sighting')}")

    with open_store(args.store) as store:
        if args.again:
            store.reset_tracklets()
        problems = link_sources(store, store.unlinked(), show)
        for source, reason in problems:
            print(f"problem: {printable(source)}: {printable(reason)}")
        print(f"{args.store}: {count_sightings(store)}")
        if refresh_calibration(store, warn=print_problem) is not None:
            print_calibration(store)
    return _PROBLEMS if problems else 0


def repair(args: argparse.Namespace) -> None:
    """Delete the damaged notes of a gallery, or list them."""
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.note_repair import LOSSES, delete_damaged, find_damaged

    with open_store(args.store) as store:
        damaged = find_damaged(store)
        for kind, ids in damaged.items():
            print(f"{args.store}: {len(ids):,} damaged: {LOSSES[kind]}")
        left = delete_damaged(store, damaged) if damaged and args.yes else None
    total = count_noun(sum(map(len, damaged.values())), "damaged note")
    if damaged and not args.yes:
        print(f"{args.store}: {total}; nothing is deleted without --yes")
    else:
        print(f"{args.store}: {total}{' deleted; the others are kept' if damaged else ''}")
    print_left(left)


def prune(args: argparse.Namespace) -> int:
    """Delete the sources whose files are gone, or list them; return the exit status."""
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.deletions import DeletionSelector, plan_deletion, run_deletion
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.source_moves import find_gone

    left = None
    with open_store(args.store) as store:
        paths = store.paths()
        gone, unreachable = find_gone(paths)
        if gone:
            plan = plan_deletion(store, DeletionSelector(sources=gone))
            if args.yes:
                left = run_deletion(store, plan, force=args.force, audit=args.audit).left
            done = " deleted" if args.yes else ""
            for path, count in plan.sources.items():
                print(f"{printable(path)}: {count_noun(count, 'detection')}{done}")
        store.sources()  # damage is reported, after the work that it does not concern
    for reason in unreachable:
        print(f"problem: {printable(reason)}; it is kept")
    found = f"{len(gone):,} of {count_noun(len(paths), 'file')} gone"
    if args.yes or not gone:
        print(f"{args.store}: {found}")
        print_left(left)
    else:
        print(f"{args.store}: {found}; nothing is deleted without --yes; `relink` follows a move")
    return _PROBLEMS if unreachable else 0


def relink(args: argparse.Namespace) -> int:
    """Give moved sources their new paths; return the exit status."""
    from clsa_search.errors import InputError
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.erasure import move_suppressed
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.source_moves import plan_moves

    num_moved = 0
    with open_store(args.store) as store:
        moves, problems = plan_moves(store.sources(), args.old, args.new)
        for source, path, fingerprint in moves:
            try:
                count = store.relink(source.path, path, fingerprint)
            except InputError as error:
                problems.append(str(error))
                continue
            move_suppressed(store, source.path, path)
            num_moved += 1
            print(f"{printable(path)}: {count_noun(count, 'detection')}")
    for reason in problems:
        print(f"problem: {printable(reason)}")
    print(f"{args.store}: {count_noun(num_moved, 'file')} moved, {len(problems):,} left as before")
    return _PROBLEMS if problems else 0


def retime(args: argparse.Namespace) -> int:
    """Give sources another camera or start time; return the exit status."""
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.placement_options import PlacementOptions
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.source_retiming import retime as retime_sources
    from clsa_search.retrieval.time_format import format_time

    options = PlacementOptions(**get_placement_options(args))  # type: ignore[arg-type]
    with open_store(args.store) as store:
        done = retime_sources(store, args.paths, options, shift=args.shift or 0.0)
    changed, problems = done.changed, done.problems
    if done.is_completed:
        print(f"{args.store}: a shift that was interrupted is completed; no file moved twice")
    for source, (camera, start, start_from) in changed:
        known = [camera and f"camera {camera}", start_from and format_time(start), start_from]
        print(f"{printable(source.path)}: {printable(', '.join(filter(None, known)))}")
    for _, reason in problems:
        print(f"problem: {printable(reason)}")
    print(
        f"{args.store}: {count_noun(len(changed), 'file')} changed, {done.same:,} as wanted "
        f"already, {len(problems):,} left as before"
    )
    return _PROBLEMS if problems else 0
