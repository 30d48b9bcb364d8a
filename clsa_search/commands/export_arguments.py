"""Options and action of `clsa-search export`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsa_search.commands.argument_types import whole_number
from clsa_search.errors import InputError
from clsa_search.wording import count_noun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clsa_search.gallery import GalleryStore
    from clsa_search.retrieval.sighting_rows import SightingRow

EXPORT_KINDS = ("csv", "crops", "clips", "case")
_PROBLEMS = 1  # exit status


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose sightings and form of an export."""
    add = parser.add_argument
    add("output", type=Path, metavar="OUTPUT", help="file to write: .csv, or .zip of the others")
    add("--kind", choices=EXPORT_KINDS, help="default csv or case, by the suffix of OUTPUT")
    add("--sighting", nargs="+", type=whole_number(1), metavar="ID", help="these sightings")
    add("--results", type=Path, metavar="FILE", help="those of a search: its results.json")
    add("--camera", nargs="+", metavar="NAME", help="sightings of these cameras")
    add("--source", nargs="+", type=Path, metavar="FILE", help="sightings of these files")
    add("--since", metavar="TIME", help="sightings from this time on")
    add("--until", metavar="TIME", help="sightings up to this time")
    add(
        "--timezone",
        metavar="ZONE",
        help="zone of the written times (default UTC), and of --since and --until (default: that "
        "of this machine)",
    )
    add("--title", default="Sightings", help="title of a case")
    add("--note", action="append", default=[], help="line for the report of a case; repeatable")


def check_export_options(args: argparse.Namespace) -> None:
    """Check the options without slow imports.

    Raises:
        InputError: kind and file do not fit, two options contradict, or a zone or a time is none.
    """
    from clsa_search.retrieval.time_format import parse_time
    from clsa_search.retrieval.time_rules import parse_zone

    suffix = args.output.suffix.lower()
    args.kind = args.kind or ("csv" if suffix == ".csv" else "case")
    expected = ".csv" if args.kind == "csv" else ".zip"
    if suffix != expected and args.output.suffix:
        raise InputError(
            f"{args.output}: is a file of {args.kind}; expected a name with {expected}"
        )
    if args.sighting and args.results:
        raise InputError("--sighting: is given with --results; expected one of the two")
    zone = parse_zone(args.timezone) if args.timezone else None
    args.timezone = args.timezone or "UTC"
    for name in ("since", "until"):
        text = getattr(args, name)
        setattr(args, name, None if text is None else parse_time(text, zone))


def export(args: argparse.Namespace) -> int:
    """Write an export; return the exit status."""
    from clsa_search.atomic_io import replace_file
    from clsa_search.gallery import open_store
    from clsa_search.output_checks import check_output_file, reported_writes
    from clsa_search.retrieval.evidence_case import write_case
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.sighting_exports import export_rows
    from clsa_search.retrieval.time_rules import parse_zone

    check_output_file(args.output)
    zone = parse_zone(args.timezone)
    with open_store(args.store) as store:
        with store.snapshot():  # another process may link the sightings anew
            rows, request = _choose(store, args)
        with reported_writes(args.output), replace_file(args.output) as file:
            if args.kind == "case":
                missing = write_case(store, rows, request, file, zone)
            else:
                missing = export_rows(store, rows, args.kind, file, zone)
    for reason in missing:
        print(f"missing: {printable(reason)}")
    print(f"{args.output}: {count_noun(len(rows), 'sighting')}, {len(missing):,} parts missing")
    return _PROBLEMS if missing else 0


def _choose(store: "GalleryStore", args: argparse.Namespace) -> "tuple[list[SightingRow], Any]":
    """Return the rows of the arguments, and what was asked."""
    from clsa_search.gallery import Filter
    from clsa_search.retrieval.evidence_case import CaseRequest
    from clsa_search.retrieval.filter_checks import check_filter, check_times
    from clsa_search.retrieval.search_records import read_search_record
    from clsa_search.retrieval.search_scope import describe_filter
    from clsa_search.retrieval.sighting_rows import expand_chains, list_rows
    from clsa_search.retrieval.source_moves import find_source

    sources = None
    if args.source:
        stored = set(store.paths())
        sources = [find_source(path, stored) for path in args.source]
    where = Filter(cameras=args.camera, sources=sources, since=args.since, until=args.until)
    check_filter(store, where)
    check_times(store, where)
    passing = [one.tracklet_id for one in store.tracklets(where, order_by="time")]
    filters = describe_filter(where)
    record, searched = None, None
    ids, judgments = passing, {}
    if args.results:
        record = read_search_record(store, args.results)
        judgments, searched = record.judgments, record.searched
        allowed = set(passing)
        ids = [one for one in expand_chains(store, list(judgments)) if one in allowed]
    elif args.sighting:
        allowed = set(passing)
        ids = [one for one in expand_chains(store, args.sighting) if one in allowed]
    request = CaseRequest(
        args.title,
        query=None if record is None else record.query,
        filters=filters if record is None else _join_filters(record.filters, filters),
        searched=searched,
        calibration=None if record is None else record.calibration,
        where=where,
        coverage=None if record is None else record.coverage,
        notes=args.note,
    )
    return list_rows(store, ids, judgments), request


def _join_filters(searched: "Mapping[str, Any]", exported: "Mapping[str, Any]") -> dict[str, Any]:
    """Return the filters of a search, replaced where the export has its own."""
    return {**searched, **{name: one for name, one in exported.items() if one is not None}}
