"""Action of `clsa-search index`: add files to a gallery, once or whenever new ones come."""

import argparse
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from clsa_search.commands.deletion_arguments import print_left
from clsa_search.commands.gallery_opening import open_gallery_of
from clsa_search.commands.placement_arguments import get_placement_options
from clsa_search.errors import INTERRUPTED, InputError
from clsa_search.wording import count_noun

if TYPE_CHECKING:
    from clsa_search.data.given_detections import FileBoxes
    from clsa_search.retrieval import GallerySearch, IndexOptions, IndexReport
    from clsa_search.retrieval.folder_watch import FolderWatch

_PROBLEMS = 1  # exit status
_UPKEEP_SECONDS = 3600.0  # between deletions of what is too old, without new files


def index(args: argparse.Namespace) -> int:
    """Add files to a gallery; return the exit status."""
    from clsa_search.commands.detections_arguments import read_given_detections
    from clsa_search.retrieval.index_options import DEFAULT_RATE, MAX_RATE, IndexOptions
    from clsa_search.retrieval.results import count_sightings
    from clsa_search.retrieval.source_files import list_media

    options = IndexOptions(
        rate=args.rate or (MAX_RATE if args.detections else DEFAULT_RATE),
        batch_size=args.batch_size,
        **get_placement_options(args),  # type: ignore[arg-type]
    )
    boxes = None
    if args.watch is None:
        media = list_media(args.paths)  # report wrong paths before the store is created
        boxes = read_given_detections(args, media.images, media.videos)
    with open_gallery_of(args, create=True, min_score=args.min_score) as gallery:
        if args.watch is not None:
            return _watch(gallery, args, options)
        report = _index_once(gallery, args, options, boxes)
        if report is None:
            return INTERRUPTED
        problems = finish_indexing(gallery, args)
        print(f"{args.store}: {count_sightings(gallery.store)} in all")
        if not gallery.store.count():
            print("nobody is stored; a lower --min-score or other weights may find people")
    return _PROBLEMS if report.problems or problems else 0


def _index_once(
    gallery: "GallerySearch",
    args: argparse.Namespace,
    options: "IndexOptions",
    boxes: "Mapping[str, FileBoxes] | None",
) -> "IndexReport | None":
    """Index the files of the arguments; return None after Ctrl+C."""
    from tqdm import tqdm

    from clsa_search.retrieval import Indexer

    indexer = Indexer(gallery.predictor, gallery.store, options, boxes)
    total = indexer.plan(args.paths)
    try:
        with tqdm(total=total, unit="image", desc="indexing") as bar:

            def show(images: int, detections: int) -> None:
                bar.update(images)
                bar.set_postfix(detections=indexer.report.detections)

            indexer.run(show)
    except KeyboardInterrupt:
        print("interrupted: run the same command to continue")
        return None
    finally:
        _print_report(indexer.report, args.store)
    return indexer.report


def finish_indexing(gallery: "GallerySearch", args: argparse.Namespace) -> list[str]:
    """Calibrate anew where needed, compare the watch list, delete what is too old.

    Returns:
        Printed reasons of hooks that failed.
    """
    from clsa_search.commands.calibration_arguments import print_calibration, print_problem
    from clsa_search.retrieval.gallery_calibration import refresh_calibration
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.retention import apply_retention
    from clsa_search.retrieval.watch_hits import WATCHED_HOUR, WHOLE_DAY
    from clsa_search.retrieval.watch_reports import WatchOptions, compare_watched, report_hits

    def warn(reason: str) -> None:
        print_problem(reason)
        problems.append(reason)

    problems: list[str] = []
    days = WHOLE_DAY if args.watch is None else WATCHED_HOUR
    options = WatchOptions(args.false_alarms, args.hook or (), days)
    if refresh_calibration(gallery.store, warn=print_problem) is not None:
        print_calibration(gallery.store)
    if reason := compare_watched(gallery.store, options):
        print(printable(reason), flush=True)
    report_hits(gallery.store, options.hook, print_line, warn)
    old = apply_retention(gallery.store, audit=args.audit)
    if old.sightings:
        print(f"{args.store}: {count_noun(len(old.sightings), 'old sighting')} deleted", flush=True)
        print_left(old.left)
    return problems


def print_line(text: str) -> None:
    """Print a line at once: other programs read it."""
    print(text, flush=True)


def _watch(gallery: "GallerySearch", args: argparse.Namespace, options: "IndexOptions") -> int:
    """Index settled files until the process is ended; return the exit status."""
    from clsa_search.retrieval.folder_watch import FolderWatch

    stops: list[int] = []

    def stop(number: int, frame: object) -> None:
        stops.append(number)
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    watch, next_upkeep = FolderWatch(), 0.0
    try:
        while True:
            is_new = _scan(gallery, args, options, watch)
            if is_new or time.monotonic() >= next_upkeep:
                _finish_scan(gallery, args)
                next_upkeep = time.monotonic() + _UPKEEP_SECONDS
            time.sleep(args.watch)
    except KeyboardInterrupt:
        print("ended: stored frames are kept, the same command continues", flush=True)
        return 0 if stops else INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)


def _finish_scan(gallery: "GallerySearch", args: argparse.Namespace) -> None:
    """Finish indexing, and go on after a fault, such as a full disk."""
    from clsa_search.retrieval.results import printable

    try:
        finish_indexing(gallery, args)
    except InputError as error:
        print(f"problem: {printable(str(error))}; it is tried again", flush=True)


def _scan(
    gallery: "GallerySearch",
    args: argparse.Namespace,
    options: "IndexOptions",
    watch: "FolderWatch",
) -> bool:
    """Index the files that have settled since the last scan; return whether there are any."""
    from clsa_search.retrieval import Indexer
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.source_files import list_media

    paths: list[str] = []
    try:
        media = list_media(args.paths)
        paths, faults = [*media.images, *media.videos], [reason for _, reason in media.problems]
    except InputError as error:  # no file yet, or the disk is not mounted
        faults = [str(error)]
    for reason in watch.note_faults(faults):
        print(f"problem: {printable(reason)}", flush=True)
    chosen = watch.choose(paths)
    if not chosen:
        return False
    indexer = Indexer(gallery.predictor, gallery.store, options)
    try:
        # in a sequence, the clips before tell the time of the next one
        indexer.plan([*watch.done, *chosen] if options.in_sequence else chosen)
        indexer.run()
        problems = {
            path: f"{path}: another process indexes it" for path in indexer.report.conflicts
        }
        problems |= dict(indexer.report.problems)
    except InputError as error:  # such as a full disk, or a server that restarts
        problems = dict.fromkeys(chosen, str(error))
    for reason in watch.note(chosen, problems):
        print(f"problem: {printable(reason)}", flush=True)
    _print_status(indexer.report, args.store, watch.num_waiting, watch.num_failed)
    return True


def _print_status(report: "IndexReport", address: str, waiting: int, failed: int) -> None:
    if report.images or report.moved or report.renamed:
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        renamed = f"{count_noun(report.renamed, 'renamed file')} followed; "
        print(
            f"{now} {address}: {count_noun(report.detections, 'detection')} in "
            f"{count_noun(report.images, 'image')} added; "
            f"{renamed if report.renamed else ''}{count_noun(waiting, 'file')} waiting, "
            f"{failed:,} failed",
            flush=True,
        )


def _print_report(report: "IndexReport", address: str) -> None:
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.source_files import format_suffixes

    print(
        f"{address}: {count_noun(report.detections, 'detection')} "
        f"in {count_noun(report.images, 'image')} added, "
        f"{count_noun(report.skipped, 'file')} already indexed"
    )
    if report.renamed:
        print(f"{count_noun(report.renamed, 'renamed file')} followed, without indexing again")
    if report.moved:
        print(f"{count_noun(report.moved, 'file')} got another camera or start time")
    if report.other_files:
        others = count_noun(report.other_files.total(), "file is", "files are")
        suffixes = printable(format_suffixes(report.other_files))
        print(f"{others} neither image nor video by name, and passed over: {suffixes}")
    for path in report.conflicts:
        print(f"{printable(path)}: left to another process that indexes it")
    for path, reason in report.problems:
        print(f"problem: {printable(reason if path in reason else f'{path}: {reason}')}")
