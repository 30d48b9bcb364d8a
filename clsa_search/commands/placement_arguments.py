"""Options of the commands that give files a camera and a start time."""

import argparse

from clsa_search.commands.argument_types import parsed_by


def add_placement_options(parser: argparse.ArgumentParser, start_option: str) -> None:
    """Add the options that tell camera and start time.

    Args:
        parser: parser of a command.
        start_option: name of the option for a given start time.
    """
    group = parser.add_argument_group("camera and start time of the files")
    add = group.add_argument
    add("--camera", help="camera name of all these files")
    add(
        "--camera-from",
        default="",
        metavar="RULE",
        help="camera by file: folder, parent:N (N folders up), or name:REGEX (its first group)",
    )
    add(
        start_option,
        dest="start_time",
        metavar="TIME",
        help="time of the first frame of each video",
    )
    add(
        "--time-from",
        default="",
        metavar="RULES",
        help="start by file, first rule that works: name:PATTERN as name:%%Y%%m%%d_%%H%%M%%S, "
        "exif, container, mtime, none (takes files without a time)",
    )
    add("--timezone", default="", metavar="ZONE", help="zone of these times, as Europe/Berlin")
    add(
        "--in-sequence",
        action="store_true",
        help="a video without its own time begins where the one before it in the folder ends",
    )


def get_placement_options(args: argparse.Namespace) -> dict[str, object]:
    """Return the options of `PlacementOptions`."""
    is_given = args.start_time is not None  # its zone is part of it
    return {
        "camera": args.camera,
        "camera_from": args.camera_from,
        "start_time": args.start_time,
        "time_from": args.time_from,
        "zone": "" if is_given else args.timezone,
        "in_sequence": args.in_sequence,
    }


def has_placement_options(args: argparse.Namespace) -> bool:
    """Return whether an option of camera or start time is given."""
    given = args.camera, args.start_time, args.camera_from or None, args.time_from or None
    return any(value is not None for value in given)


def check_placement_options(args: argparse.Namespace) -> None:
    """Check the options without slow imports; a given start becomes seconds.

    Raises:
        InputError: the start or its zone is none, or see `PlacementOptions`.
    """
    from clsa_search.retrieval.placement_options import PlacementOptions
    from clsa_search.retrieval.time_format import parse_time
    from clsa_search.retrieval.time_rules import parse_zone

    if args.start_time is not None:
        zone = parse_zone(args.timezone) if args.timezone else None
        args.start_time = parse_time(args.start_time, zone)
    PlacementOptions(**get_placement_options(args))  # type: ignore[arg-type]


@parsed_by
def to_time(text: str) -> float:
    """Return the seconds of a time, see `parse_time`."""
    from clsa_search.retrieval.time_format import parse_time

    return parse_time(text)
