"""Actions of the command clsa-search: each takes the parsed arguments and prints its outcome."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsa_search.commands import (
    calibration_arguments,
    deletion_arguments,
    export_arguments,
    index_action,
    people_arguments,
    serve_arguments,
    source_actions,
    verdict_arguments,
)
from clsa_search.commands.gallery_opening import open_gallery_of
from clsa_search.commands.query_arguments import QueryImage
from clsa_search.errors import InputError
from clsa_search.output_checks import check_output_file, check_output_folder, reported_writes
from clsa_search.wording import count_noun

if TYPE_CHECKING:
    from clsa_search.gallery import Filter
    from clsa_search.retrieval import GallerySearch
    from clsa_search.retrieval.gallery_search import Per
    from clsa_search.retrieval.results import QueryResult
    from clsa_search.retrieval.sighting_search import SightingChoice
    from clsa_search.structures import PersonImage

_PROBLEMS = 1  # exit status
_AUDIT_HEADERS = ["at", "who", "did", "by", "sightings", "detections"]
_SOURCE_HEADERS = ["source", "detections", "sightings", "camera", "start", "start from", "indexed"]


def query(args: argparse.Namespace) -> int:
    """Search, print the matches and write the files of the results; return the exit status."""
    from clsa_search.atomic_io import replace_file
    from clsa_search.gallery import Filter
    from clsa_search.retrieval.coverage_lanes import describe_coverage
    from clsa_search.retrieval.match_table import write_matches_csv
    from clsa_search.retrieval.report import write_results
    from clsa_search.retrieval.results import format_results, printable
    from clsa_search.retrieval.search_answers import results_as_text
    from clsa_search.retrieval.search_scope import read_scope

    where = Filter(args.camera, None, args.since, args.until, args.min_score)
    check_output_folder(args.output_dir)
    for name in ("results.json", "report.html"):
        check_output_file(args.output_dir / name)
    if args.csv:
        check_output_file(args.csv)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    with open_gallery_of(args, half=args.half) as gallery:
        results, problems, where = _search(gallery, where, args)
        scope = read_scope(gallery.store, where, args.max_strangers)
    print(results_as_text(results, scope) if args.json else format_results(results))
    if not args.json and (summary := describe_coverage(scope.coverage)):
        print(summary)
    if args.csv:
        with reported_writes(args.csv), replace_file(args.csv) as file:
            file.write(write_matches_csv(results))
    if results:
        report, sheet = write_results(results, args.output_dir, address=args.store, scope=scope)
        if not args.json:
            print(f"report: {report}   sheet: {sheet}")
    for reason in problems:
        print(f"problem: {printable(reason)}", file=sys.stderr if args.json else sys.stdout)
    return _PROBLEMS if problems else 0


def _search(
    gallery: "GallerySearch", where: "Filter", args: argparse.Namespace
) -> "tuple[list[QueryResult], list[str], Filter]":
    """Return the results of all queries, the problems of single images, and the whole filter."""
    from clsa_search.retrieval.filter_checks import check_filter
    from clsa_search.retrieval.reference_images import read_people
    from clsa_search.retrieval.search_scope import find_query_time
    from clsa_search.retrieval.source_moves import find_source

    if args.source:
        stored = set(gallery.store.paths())
        where = replace(where, sources=[find_source(path, stored) for path in args.source])
    check_filter(gallery.store, where)
    per: Per = "tracklet" if args.per == "sighting" else args.per
    choice, same_query = _choose(gallery, args)
    if args.id is not None:
        result = gallery.search_by_id(args.id, args.top, where, per, choice)
        return [replace(result, **same_query)], [], where
    problems: list[str] = []
    times: list[float | None] = []
    if args.people is not None:
        people, problems = read_people(gallery, args.people)
        queries = [(person.images, person.name) for person in people]
    else:
        selected = _select_queries(gallery, args.image, args.output_dir)
        queries = [(persons, "") for persons in selected]
        times = [find_query_time(gallery.store, one.path) for one in args.image]
    results = [
        replace(
            gallery.search(images, args.top, where, per, title, choice),
            query_times=times,
            **same_query,
        )
        for images, title in queries
    ]
    return results, problems, where


def _choose(
    gallery: "GallerySearch", args: argparse.Namespace
) -> "tuple[SightingChoice | None, dict[str, Any]]":
    """Return what the user accepts of sightings, and the name of an earlier query, if given."""
    from clsa_search.retrieval.search_records import read_query_id
    from clsa_search.retrieval.sighting_search import SightingChoice
    from clsa_search.retrieval.verdict_store import list_said

    if args.verdicts is None:
        bound = args.max_strangers
        return (None if bound is None else SightingChoice(bound)), {}
    query_id = read_query_id(args.verdicts)
    said = list_said(gallery.store, query_id)
    same, others = ([one for one in said if said[one] == word] for word in ("same", "other"))
    return SightingChoice(args.max_strangers, same, others), {"query_id": query_id}


def list_sources(args: argparse.Namespace) -> None:
    """Print the indexed files."""
    from tabulate import tabulate

    from clsa_search.gallery import open_store
    from clsa_search.retrieval.results import count_sightings, printable
    from clsa_search.retrieval.time_format import format_time

    if args.audit:
        return _list_audit(args)
    with open_store(args.store) as store:
        rows = [
            (
                printable(source.path),
                source.detections,
                source.tracklets if source.is_linked else "not linked",
                printable(source.camera or ""),
                format_time(source.start),
                source.start_from or "",
                "yes" if source.is_complete else f"until frame {source.next_frame}",
            )
            for source in store.sources()
        ]
        print(tabulate(rows, _SOURCE_HEADERS, disable_numparse=True))
        counts = f"{count_sightings(store)} in {count_noun(len(rows), 'file')}"
        print(f"{counts}, weights {store.weights[:12]}")


def _list_audit(args: argparse.Namespace) -> None:
    """Print the log of deletions."""
    from tabulate import tabulate

    from clsa_search.gallery import open_store
    from clsa_search.retrieval.audit_log import read_audit
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.time_format import format_time

    with open_store(args.store) as store:
        lines = read_audit(store)
    rows = [
        (
            *(format_time(one["at"]), printable(one["who"]), one["did"], ", ".join(one["by"])),
            *(one["sightings"], one["detections"]),
        )
        for one in lines
    ]
    print(tabulate(rows, _AUDIT_HEADERS, disable_numparse=True))


def copy(args: argparse.Namespace) -> None:
    """Copy the gallery."""
    from tqdm import tqdm

    from clsa_search.gallery import copy_gallery, open_store
    from clsa_search.retrieval.erasure import Suppression, find_erased
    from clsa_search.retrieval.gallery_calibration import calibrate_gallery
    from clsa_search.retrieval.note_transfer import copy_notes
    from clsa_search.retrieval.stored_calibration import find_calibration

    with open_store(args.store) as store, tqdm(total=store.count(), unit="detection") as bar:

        def show(detections: int) -> None:
            bar.update(detections)

        copied = copy_gallery(store, args.target, on_copied=show)
        with open_store(args.target) as target:
            copy_notes(store, target)
            erased = find_erased(
                target, Suppression(target)
            )  # in the copy, but not in the original
            target.delete_detections(erased)
            left = target.scrub() if erased else None
            known, fault = find_calibration(store)
            if known or fault:  # it names tracklets, whose ids may change
                calibrate_gallery(target, known.apart if known else None)
    print(
        f"{args.target}: {count_noun(copied.detections, 'detection')} of {args.store} copied, "
        f"{copied.present:,} copied before; {count_noun(copied.sources, 'source')}"
    )
    if erased:
        print(f"{args.target}: {count_noun(len(erased), 'detection')} of erased people left out")
    deletion_arguments.print_left(left)


ACTIONS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "index": index_action.index,
    "query": query,
    "serve": serve_arguments.serve,
    "list": list_sources,
    "delete": deletion_arguments.delete,
    "retention": deletion_arguments.retention,
    "scrub": deletion_arguments.scrub,
    "people": people_arguments.people,
    "calibrate": calibration_arguments.calibrate,
    "export": export_arguments.export,
    "verdict": verdict_arguments.verdict,
    "copy": copy,
    "link": source_actions.link,
    "prune": source_actions.prune,
    "repair": source_actions.repair,
    "relink": source_actions.relink,
    "relocate": source_actions.relink,
    "retime": source_actions.retime,
}


def _select_queries(
    gallery: "GallerySearch", images: list[QueryImage], folder: Path
) -> "list[list[PersonImage]]":
    """Return the images of each query: one person in all images, or all of a single image."""
    from clsa_search.retrieval.frame_reader import read_frame
    from clsa_search.retrieval.query_selection import AmbiguousQuery, select_persons
    from clsa_search.visualize import write_numbered_boxes

    selected = []
    for one in images:
        image = read_frame(one.path, None)
        try:
            persons = select_persons(gallery, image, one.path, box=one.box, person=one.person)
        except AmbiguousQuery as error:
            numbered = folder / "people.png"
            with reported_writes(numbered):
                detections = error.detections
                write_numbered_boxes(image, detections.boxes, detections.scores, numbered)
            raise InputError(f"{error}; {numbered} shows the numbers") from error
        selected.append(persons)
    if len(selected) == 1:
        return [[person] for person in selected[0]]
    return [[person for (person,) in selected]]
