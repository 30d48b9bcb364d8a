"""Options of all commands that take the detections of another program."""

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from clsa_search.errors import InputError
from clsa_search.wording import count_noun

if TYPE_CHECKING:
    from clsa_search.data.given_detections import FileBoxes, GivenDetections


def add_detections_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name detections and tell how to read them."""
    group = parser.add_argument_group("detections of another program, in place of the detector's")
    group.add_argument(
        "--detections",
        metavar="FILE",
        help="det.txt of MOTChallenge, results of COCO (.json), or a folder of YOLO labels",
    )
    group.add_argument(
        "--detections-images",
        metavar="FILE",
        help="COCO file with the images of these results (default: image_id is the file's name)",
    )
    group.add_argument(
        "--detections-category",
        metavar="NAME",
        help="class of persons, name or number (default: person; in YOLO labels 0)",
    )


def check_detections_options(args: argparse.Namespace) -> None:
    """Check that the other options come with --detections.

    Raises:
        InputError: they do not.
    """
    for name in ("detections_images", "detections_category"):
        if getattr(args, name) is not None and args.detections is None:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} tells how to read --detections; expected that too")


def read_given_detections(
    args: argparse.Namespace, images: Sequence[str], videos: Sequence[str]
) -> "dict[str, FileBoxes] | None":
    """Read --detections for files, print their numbers, and drop boxes below --min-score.

    Returns:
        Boxes by path; None without the option.

    Raises:
        InputError: see `read_detections` and `GivenDetections.assign`.
    """
    if args.detections is None:
        return None
    from clsa_search.data.detections_files import read_detections, read_image_list
    from clsa_search.data.given_detections import select_boxes

    listed = read_image_list(args.detections_images) if args.detections_images else None
    given = read_detections(args.detections, listed, args.detections_category)
    files, unused = given.assign(images, videos)
    kept = {path: select_boxes(boxes, args.min_score) for path, boxes in files.items()}
    _print_summary(given, kept, unused, num_files=len(images) + len(videos))
    return kept


def read_dataset_detections(
    args: argparse.Namespace, records: Sequence[dict]
) -> "dict[str, FileBoxes] | None":
    """Read --detections for the images of a dataset and print their numbers.

    An `image_id` is that of the dataset, without --detections-images.

    Returns:
        Boxes by path; None without the option.

    Raises:
        InputError: see `read_detections` and `GivenDetections.assign`.
    """
    if args.detections is None:
        return None
    from clsa_search.data.detections_files import ImageList, read_detections, read_image_list

    images = [os.path.abspath(record["file_name"]) for record in records]
    ids = [str(record["image_id"]) for record in records]
    listed = ImageList(dict(zip(ids, images, strict=True)), {})
    if args.detections_images:
        listed = read_image_list(args.detections_images)
    given = read_detections(args.detections, listed, args.detections_category)
    files, unused = given.assign(images)
    _print_summary(given, files, unused, num_files=len(images))
    return files


def _print_summary(
    given: "GivenDetections",
    kept: "Mapping[str, FileBoxes]",
    unused: Sequence[str | int],
    num_files: int,
) -> None:
    counts = [len(boxes) for by_frame in kept.values() for boxes in by_frame.values()]
    print(
        f"{given.path}: {sum(counts):,} of {count_noun(len(given), 'box', 'boxes')} used, "
        f"in {count_noun(len(counts), 'image')}"
    )
    if unused:
        boxes = sum(len(given.boxes[name]) for name in unused)
        print(
            f"not among the files: {count_noun(len(unused), 'image')} with "
            f"{count_noun(boxes, 'box', 'boxes')}, such as {unused[0]!r}"
        )
    if without := num_files - sum(map(bool, kept.values())):
        print(f"{count_noun(without, 'file')} without boxes")
