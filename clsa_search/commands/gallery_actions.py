"""Actions of the command clsa-search: each takes the parsed arguments and prints its outcome."""

import argparse
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clsa_search.commands import source_actions
from clsa_search.commands.search_gallery import QueryImage
from clsa_search.errors import INTERRUPTED, InputError
from clsa_search.output_checks import check_output_file, check_output_folder, reported_writes
from clsa_search.structures import DEFAULT_SCORE_THRESHOLD
from clsa_search.wording import count_noun

if TYPE_CHECKING:
    from clsa_search.retrieval import GallerySearch, IndexReport
    from clsa_search.structures import PersonImage

_PROBLEMS = 1  # exit status


def index(args: argparse.Namespace) -> int:
    """Add files to a gallery; return the exit status."""
    from clsa_search.commands.detections_arguments import read_given_detections
    from clsa_search.retrieval.index_options import DEFAULT_RATE, MAX_RATE, IndexOptions
    from clsa_search.retrieval.source_files import list_media

    rate = args.rate or (MAX_RATE if args.detections else DEFAULT_RATE)
    options = IndexOptions(
        rate=rate,
        camera=args.camera,
        start_time=args.start_time,
        batch_size=args.batch_size,
    )
    media = list_media(args.paths)  # report wrong paths before the store is created
    boxes = read_given_detections(args, media.images, media.videos)

    from tqdm import tqdm

    from clsa_search.retrieval import Indexer

    with _open(args, create=True, min_score=args.min_score) as gallery:
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
            return INTERRUPTED
        finally:
            _print_report(indexer.report, args.store)
        print(f"{args.store}: {count_noun(gallery.store.count(), 'detection')} in all")
    return _PROBLEMS if indexer.report.problems else 0


def query(args: argparse.Namespace) -> None:
    """Search, print the matches and write the files of the results."""
    from clsa_search.gallery import Filter
    from clsa_search.retrieval.filter_checks import check_filter
    from clsa_search.retrieval.report import write_results
    from clsa_search.retrieval.results import format_results, results_as_text
    from clsa_search.retrieval.source_moves import find_source

    where = Filter(
        cameras=args.camera,
        since=args.since,
        until=args.until,
        min_score=args.min_score,
    )
    check_output_folder(args.output_dir)
    for name in ("results.json", "report.html"):
        check_output_file(args.output_dir / name)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    with _open(args, half=args.half) as gallery:
        if args.source:
            stored = set(gallery.store.paths())
            where = replace(where, sources=[find_source(path, stored) for path in args.source])
        check_filter(gallery.store, where)
        per: Literal["image", "match"] = "match" if args.every_match else "image"
        if args.id is not None:
            results = [gallery.search_by_id(args.id, args.top, where, per)]
        else:
            results = [
                gallery.search(persons, args.top, where, per)
                for persons in _select_queries(gallery, args.image, args.output_dir)
            ]
    print(results_as_text(results) if args.json else format_results(results))
    report, sheet = write_results(results, args.output_dir, address=args.store)
    if not args.json:
        print(f"report: {report}   sheet: {sheet}")


def serve(args: argparse.Namespace) -> None:
    """Serve API and page until they are interrupted."""
    from clsa_search.desk import serve as serve_desk
    from clsa_search.desk.server import check_address

    check_address(args.host, args.token_file, args.public_url)  # before the model is loaded
    with _open(args) as gallery:
        serve_desk(
            gallery,
            host=args.host,
            port=args.port,
            token_file=args.token_file,
            public_url=args.public_url,
            on_ready=lambda url: print(f"{url}  Ctrl+C ends it", flush=True),
        )


def list_sources(args: argparse.Namespace) -> None:
    """Print the indexed files."""
    from tabulate import tabulate

    from clsa_search.gallery import open_store
    from clsa_search.retrieval.results import printable

    with open_store(args.store) as store:
        rows = [
            (
                printable(source.path),
                source.detections,
                "yes" if source.is_complete else f"until frame {source.next_frame}",
            )
            for source in store.sources()
        ]
        print(tabulate(rows, ["source", "detections", "indexed"], disable_numparse=True))
        counts = f"{count_noun(store.count(), 'detection')} in {count_noun(len(rows), 'file')}"
        print(f"{counts}, weights {store.weights[:12]}")


def delete(args: argparse.Namespace) -> None:
    """Delete files from the gallery."""
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.source_moves import find_source

    with open_store(args.store) as store:
        indexed = set(store.paths())
        paths = [find_source(path, indexed) for path in args.files]
        for path in paths:
            if path not in indexed:
                store.sources()  # a damaged gallery may have lost it
                raise InputError(
                    f"{args.store}: {printable(path)} is not indexed; expected a file of `list`"
                )
        for path in paths:
            print(f"{printable(path)}: {count_noun(store.delete(path), 'detection')} deleted")


def copy(args: argparse.Namespace) -> None:
    """Copy the gallery."""
    from tqdm import tqdm

    from clsa_search.gallery import copy_gallery, open_store

    with open_store(args.store) as store, tqdm(total=store.count(), unit="detection") as bar:

        def show(detections: int) -> None:
            bar.update(detections)

        copied = copy_gallery(store, args.target, on_copied=show)
    print(
        f"{args.target}: {count_noun(copied.detections, 'detection')} of {args.store} copied, "
        f"{copied.present:,} copied before; {count_noun(copied.sources, 'source')}"
    )


ACTIONS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "index": index,
    "query": query,
    "serve": serve,
    "list": list_sources,
    "delete": delete,
    "copy": copy,
    "prune": source_actions.prune,
    "relink": source_actions.relink,
}


def _open(
    args: argparse.Namespace,
    *,
    create: bool = False,
    min_score: float = DEFAULT_SCORE_THRESHOLD,
    half: bool = False,
) -> "GallerySearch":
    """Open the gallery of the arguments."""
    import torch

    from clsa_search.engine import keep_freed_memory
    from clsa_search.retrieval import open_gallery

    logging.basicConfig(level=logging.WARNING)
    gallery = open_gallery(
        args.store,
        args.weights,
        args.config_file,
        create=create,
        min_score=min_score,
        device=args.device,
        dtype=torch.float16 if half else torch.float32,
        precision=args.precision,
    )
    keep_freed_memory(gallery.predictor.device)
    return gallery


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


def _print_report(report: "IndexReport", address: str) -> None:
    from clsa_search.retrieval.results import printable
    from clsa_search.retrieval.source_files import format_suffixes

    print(
        f"{address}: {count_noun(report.detections, 'detection')} "
        f"in {count_noun(report.images, 'image')} added, "
        f"{count_noun(report.skipped, 'file')} already indexed"
    )
    if report.other_files:
        others = count_noun(report.other_files.total(), "file is", "files are")
        suffixes = printable(format_suffixes(report.other_files))
        print(f"{others} neither image nor video by name, and passed over: {suffixes}")
    for path in report.conflicts:
        print(f"{printable(path)}: left to another process that indexes it")
    for path, reason in report.problems:
        print(f"problem: {printable(reason if path in reason else f'{path}: {reason}')}")
