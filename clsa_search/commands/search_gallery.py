"""Search your own footage: index it once, then ask as often as you like who is where.

tools/search_gallery.py index --weights model_final.pth --store street.db videos/ photo.jpg
tools/search_gallery.py query --store street.db --image person.jpg
tools/search_gallery.py query --store street.db --image a.jpg --person 2 --image b.jpg --person 1
tools/search_gallery.py serve --store street.db
tools/search_gallery.py list street.db
tools/search_gallery.py delete street.db videos/door.mp4
tools/search_gallery.py copy street.db http://localhost:19530/street

`index` finds the people of images, folders and videos and adds them to the store; what is in it
already is skipped, so that the same command goes on from where it was interrupted. `query` prints
the most similar people and leaves a ranking sheet, an HTML report and results.json. `serve` does
the same in a browser, for this machine alone. `copy` copies a gallery, also from one engine to the
other. A store is a file, or the address of a gallery on a Milvus server.

Exit status: 0, or 1 if `index` named files with problems, 2 if nothing could be done or it had to
stop (the last line says why), 130 after Ctrl+C.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from tqdm import tqdm

from clsa_search.engine.memory import keep_freed_memory
from clsa_search.engine.precision import DTYPES
from clsa_search.errors import InputError, reported_input_errors
from clsa_search.gallery import Filter, copy_gallery, open_store
from clsa_search.retrieval.filter_checks import check_filter
from clsa_search.retrieval.frame_reader import read_frame
from clsa_search.retrieval.gallery_search import GallerySearch, open_gallery
from clsa_search.retrieval.indexer import Indexer, IndexOptions, IndexReport
from clsa_search.retrieval.media import list_media
from clsa_search.retrieval.query_selection import (
    Undecided,
    choose_people,
    join_negatives,
    parse_box,
)
from clsa_search.retrieval.report import prepare_folder, reported_writes, write_results
from clsa_search.retrieval.results import QueryResult, format_results, printable, results_as_text
from clsa_search.retrieval.times import parse_time
from clsa_search.structures import DEFAULT_SCORE_THRESHOLD
from clsa_search.visualize import PersonImage, write_numbered_boxes

_PROBLEMS, _INTERRUPTED = 1, 130  # exit status


class _OfAPicture(argparse.Action):
    """--box and --person belong to the --image before them."""

    def __call__(self, parser: argparse.ArgumentParser, args: Any, value: Any, name: Any) -> None:
        if not args.image:
            parser.error(f"{name} stands before any --image; expected it after the image it is of")
        if args.image[-1].keys() & {"box", "person"}:
            parser.error(f"{name}: the person of {args.image[-1]['path']} is chosen already")
        args.image[-1][self.dest] = value


def to_person(text: str) -> int | str:
    if text != "all" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number from 1, or all")
    return text if text == "all" else int(text)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_index(commands.add_parser("index", help="add images and videos to a store"))
    _add_query(commands.add_parser("query", help="search for a person"))
    _add_serve(commands.add_parser("serve", help="search in a browser"))
    for name, text, further in (
        ("list", "show what is indexed", {}),
        ("delete", "forget files and their people", {"nargs": "+", "metavar": "FILE"}),
        ("copy", "copy a gallery into another file or engine", {"metavar": "TO"}),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("store")
        if further:
            command.add_argument("target", **further)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--store", required=True, help="a file, or http://HOST:19530/NAME of Milvus")
    add("--config-file", help="of the weights; by default config.yaml beside them")
    add("--device", help="cpu, cuda, ...; by default a GPU where there is one")
    add("--precision", choices=list(DTYPES), help="of the model's arithmetic (default float32)")


def _add_index(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH", help="images, videos, folders of them")
    add("--weights", required=True, help="the checkpoint of a trained model")
    add("--rate", type=float, default=1.0, help="frames of a video a second (default 1)")
    add("--camera", help="name that all these files get")
    add("--start-time", default="0", metavar="TIME", help="of the first frame of each video")
    add(
        "--min-score",
        type=float,
        default=DEFAULT_SCORE_THRESHOLD,
        help="of a detection (default 0.5)",
    )
    add("--batch-size", type=int, default=8, help="pictures computed and stored together")


def _add_query(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    add = parser.add_argument
    add("--weights", help="by default where they were when the store was made")
    add(
        "--image",
        action="append",
        type=lambda path: {"path": path},
        help="shows the person; repeat it with other pictures of the same person",
    )
    add("--box", action=_OfAPicture, metavar="X1,Y1,X2,Y2", help="where, in the image before it")
    add("--person", action=_OfAPicture, type=to_person, metavar="N", help="a number, or all")
    add("--id", type=int, help="search for a detection of the gallery, by the id in a result")
    add("--top", type=int, default=10, metavar="K", help="matches (default 10)")
    add("--every-match", action="store_true", help="not only the best one of each picture")
    add("--camera", nargs="+", help="search these only")
    add("--source", nargs="+", type=Path, help="search these files only")
    add("--since", metavar="TIME", help="seconds, h:mm:ss, or 2026-05-01T12:00:30")
    add("--until", metavar="TIME")
    add("--min-score", type=float, help="least detection score")
    add("--half", action="store_true", help="hold embeddings in half precision")
    add("--json", action="store_true", help="print JSON in place of a table")
    add("--output-dir", type=Path, default=Path("output/query"), help="default output/query")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    add = parser.add_argument
    add("--weights", help="by default where they were when the store was made")
    add("--host", default="127.0.0.1", help="to listen at; others than this let the network in")
    add("--port", type=int, default=7860, help="default 7860")


def index(args: argparse.Namespace) -> int:
    options = IndexOptions(
        rate=args.rate,
        camera=args.camera,
        start_time=parse_time(args.start_time),
        batch_size=args.batch_size,
    )
    list_media(args.paths)  # wrong ones are told before there is a store
    with open_gallery(
        args.store,
        args.weights,
        args.config_file,
        create=True,
        min_score=args.min_score,
        device=args.device,
        precision=args.precision,
    ) as gallery:
        keep_freed_memory(gallery.predictor.device)
        indexer = Indexer(gallery.predictor, gallery.store, options)
        total = indexer.plan(args.paths)
        try:
            with tqdm(total=total, unit="picture", desc="indexing") as bar:

                def show(pictures: int, people: int) -> None:
                    bar.update(pictures)
                    bar.set_postfix(people=indexer.report.detections)

                indexer.run(show)
        except KeyboardInterrupt:
            print("interrupted: the same command goes on from here")
            return _INTERRUPTED
        finally:
            print_report(indexer.report, args.store)
        print(f"{args.store}: {gallery.store.count()} people in all")
    return _PROBLEMS if indexer.report.problems else 0


def print_report(report: IndexReport, address: str) -> None:
    print(
        f"{address}: {report.detections} people of {report.images} pictures added, "
        f"{report.skipped} files were there already"
    )
    if report.other_files:
        print(f"{report.other_files} files are neither images nor videos by their names")
    for path in report.conflicts:
        print(f"{printable(path)}: left to another process that indexes it")
    for path, reason in report.problems:
        print(f"problem: {printable(reason if path in reason else f'{path}: {reason}')}")


def query(args: argparse.Namespace) -> None:
    if bool(args.image) == (args.id is not None):
        raise InputError("query: expected one or more --image, or --id")
    where = Filter(
        cameras=args.camera,
        sources=args.source and [os.path.abspath(path) for path in args.source],
        since=None if args.since is None else parse_time(args.since),
        until=None if args.until is None else parse_time(args.until),
        min_score=args.min_score,
    )
    prepare_folder(args.output_dir)
    with open_gallery(
        args.store,
        args.weights,
        args.config_file,
        device=args.device,
        dtype=torch.float16 if args.half else torch.float32,
        precision=args.precision,
    ) as gallery:
        keep_freed_memory(gallery.predictor.device)
        check_filter(gallery.store, where)
        how = {"k": args.top, "where": where, "per": "match" if args.every_match else "image"}
        if args.id is not None:
            answers = [gallery.search_by_id(args.id, **how)]
        else:
            people = choose(gallery, args.image, args.output_dir)
            answers = [gallery.search(person, **how, title=name(person)) for person in people]
    write(answers, args)


def choose(gallery: GallerySearch, pictures: list[dict], folder: Path) -> list[list[PersonImage]]:
    """Who is asked for: one person in all the pictures, or all people of the only picture."""
    chosen = []
    for picture in pictures:
        if picture.get("person") == "all" and len(pictures) > 1:
            raise InputError("--person all with several images; expected one person in all of them")
        image = read_frame(picture["path"], None)
        box = parse_box(picture["box"], picture["path"]) if "box" in picture else None
        try:
            chosen.append(
                choose_people(
                    gallery, image, picture["path"], box=box, person=picture.get("person")
                )
            )
        except Undecided as error:
            drawn = folder / "people.png"
            with reported_writes(drawn):
                write_numbered_boxes(image, error.people.boxes, error.people.scores, drawn)
            raise InputError(f"{error}; {drawn} shows the numbers") from error
    return [[one] for one in chosen[0]] if len(chosen) == 1 else [[one for (one,) in chosen]]


def list_sources(args: argparse.Namespace) -> None:
    with open_store(args.store) as gallery:
        rows = [
            (
                printable(one.path),
                one.detections,
                "yes" if one.is_complete else f"until {one.next_frame}",
            )
            for one in gallery.sources()
        ]
        print(tabulate(rows, ["source", "people", "indexed"], disable_numparse=True))
        print(f"{gallery.count()} people of {len(rows)} files, by weights {gallery.weights[:12]}")


def delete(args: argparse.Namespace) -> None:
    with open_store(args.store) as gallery:
        paths = [os.path.abspath(path) for path in args.target]
        known = {source.path for source in gallery.sources()}
        if unknown := [path for path in paths if path not in known]:
            path = printable(unknown[0])
            raise InputError(f"{args.store}: {path} is not indexed; expected a file that is")
        for path in paths:
            print(f"{printable(path)}: {gallery.delete(path)} people forgotten")


def copy(args: argparse.Namespace) -> None:
    with open_store(args.store) as gallery, tqdm(total=gallery.count(), unit="person") as bar:
        copied = copy_gallery(gallery, args.target, on_copied=bar.update)
    print(
        f"{args.target}: {copied.people} people of {args.store} copied, {copied.present} were "
        f"there already; {copied.sources} sources"
    )


def serve(args: argparse.Namespace) -> None:
    from clsa_search.page import serve as serve_page  # an extra, which takes seconds to import

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uploads are deleted then, too
    with open_gallery(
        args.store,
        args.weights,
        args.config_file,
        device=args.device,
        precision=args.precision,
    ) as gallery:
        keep_freed_memory(gallery.predictor.device)
        serve_page(
            gallery,
            host=args.host,
            port=args.port,
            on_ready=lambda url: print(f"{url}  Ctrl+C ends it", flush=True),
        )


def name(person: Sequence[PersonImage]) -> str:
    return " + ".join(picture.caption for picture in person)


def write(answers: list[QueryResult], args: argparse.Namespace) -> None:
    print(results_as_text(answers) if args.json else format_results(answers))
    report, sheet = write_results(answers, args.output_dir, address=args.store)
    if not args.json:
        print(f"report: {report}   sheet: {sheet}")


COMMANDS = {
    "index": index,
    "query": query,
    "serve": serve,
    "list": list_sources,
    "delete": delete,
    "copy": copy,
}


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(join_negatives(sys.argv[1:] if argv is None else argv))
    logging.basicConfig(level=logging.WARNING)
    try:
        with reported_input_errors():
            status = COMMANDS[args.command](args)
    except KeyboardInterrupt:
        status = _INTERRUPTED
    if status:
        raise SystemExit(status)
