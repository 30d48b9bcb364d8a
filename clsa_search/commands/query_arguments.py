"""Options of `clsa-search query`."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clsa_search.commands.argument_types import number, parsed_by, whole_number
from clsa_search.commands.placement_arguments import to_time


@dataclass
class QueryImage:
    """An image of the command line with the choice of its person.

    Args:
        path: file of the image.
        box: XYXY in pixels, if given.
        person: number of a detection, if given.
    """

    path: str
    box: tuple[float, ...] | None = None
    person: int | Literal["all"] | None = None


class _ChoosePerson(argparse.Action):
    """--box and --person belong to the --image before them."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if not namespace.image:
            parser.error(f"{option_string} stands before any --image; expected it after its image")
        image: QueryImage = namespace.image[-1]
        if image.box is not None or image.person is not None:
            parser.error(f"{option_string}: the person of {image.path} is chosen already")
        if self.dest == "person":
            image.person = values
            return
        try:
            image.box = parse_box(values)
        except ValueError as error:
            parser.error(f"{image.path}: box: {error}")


def parse_box(text: str) -> tuple[float, ...]:
    """Return the numbers of "x1,y1,x2,y2".

    Raises:
        ValueError: the text has another form, or the box is empty or infinite.
    """
    try:
        x0, y0, x1, y1 = box = tuple(map(float, text.split(",")))
    except ValueError as error:
        raise ValueError(f"{text!r}; expected x1,y1,x2,y2 in pixels") from error
    if not (-math.inf < x0 < x1 < math.inf and -math.inf < y0 < y1 < math.inf):
        raise ValueError(f"{text!r}; expected x1,y1,x2,y2 with x1 < x2 and y1 < y2 in pixels")
    return box


def add_query_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a query but those of all commands with a model."""
    add = parser.add_argument
    add("--weights", help="checkpoint (default: the one that made the store)")
    _add_persons(parser)
    add(
        "--top",
        type=whole_number(1),
        default=10,
        metavar="K",
        help="number of matches (default 10)",
    )
    add(
        "--per",
        choices=("sighting", "image", "match"),
        default="sighting",
        help="show sightings, the best match of each image or frame, or all matches",
    )
    _add_filters(parser)
    add("--half", action="store_true", help="hold the embeddings in half precision")
    add("--json", action="store_true", help="print JSON instead of a table")
    add("--output-dir", type=Path, default=Path("output/query"), help="default output/query")


def _add_persons(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--image",
        action="append",
        type=QueryImage,
        help="image of the person; repeat it for more images of the same person",
    )
    add(
        "--people",
        type=Path,
        metavar="FOLDER",
        help="search for many people: each image and each folder of images is one of them",
    )
    add("--csv", type=Path, metavar="FILE", help="write all matches as a table")
    add("--box", action=_ChoosePerson, metavar="X1,Y1,X2,Y2", help="box in the image before it")
    add(
        "--person",
        action=_ChoosePerson,
        type=_to_person,
        metavar="N",
        help="number of a detection in the image before it, or all",
    )
    add(
        "--id",
        type=whole_number(1),
        help="search for a detection of the store; results show its id",
    )


def check_query_options(args: argparse.Namespace) -> str | None:
    """Return the first contradiction of a query's options; None without one."""
    images = args.image or ()
    has_all = any(one.person == "all" for one in images)
    if bool(images) + (args.id is not None) + (args.people is not None) != 1:
        return "query: expected one or more --image, or --id, or --people"
    if len(images) > 1 and has_all:
        return "--person all with several images; expected one person in all of them"
    if args.max_strangers is not None and args.per != "sighting":
        return "--max-strangers counts sightings; expected it with --per sighting"
    if args.verdicts is not None and (args.per != "sighting" or args.people or has_all):
        return "--verdicts is about sightings of one person; expected it with --per sighting"
    if args.since is not None and args.until is not None and args.since > args.until:
        return "--since is later than --until; expected an earlier time"
    return None


def _add_filters(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--camera", nargs="+", help="search in these cameras only")
    add("--source", nargs="+", type=Path, help="search in these files only")
    add("--since", type=to_time, metavar="TIME", help="seconds, h:mm:ss, or 2026-05-01T12:00:30")
    add("--until", type=to_time, metavar="TIME", help="the same")
    add("--min-score", type=number(0, 1), help="minimum detection score")
    add(
        "--max-strangers",
        type=number(0, 1e9),
        metavar="E",
        help="show sightings with at most E expected strangers; needs a calibrated store",
    )
    add(
        "--verdicts",
        type=Path,
        metavar="FILE",
        help="results.json of an earlier search for this person: its verdicts count, see `verdict`",
    )


@parsed_by
def _to_person(text: str) -> int | str:
    if text == "all":
        return text
    try:
        return whole_number(1)(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{error}, or all") from error
