"""Reading of MOTChallenge folders: sequences, their frames and their ground-truth boxes.

    <source>/[train/]<sequence>/gt/gt.txt        frame, track, x, y, width, height, valid, class,
                                                 visibility
    <source>/[train/]<sequence>/img1/000001.jpg  the frames
    <source>/[train/]<sequence>/seqinfo.ini      optional: imDir, imExt

Rows with valid = 1 and class = 1 are pedestrians. MOTChallenge counts pixels from 1: the box of a
whole 640 x 480 frame is 1, 1, 640, 480 there and 0, 0, 640, 480 here, so x and y are reduced by 1.
Format: Milan et al., "MOT16: A Benchmark for Multi-Object Tracking", arXiv 1603.00831.
"""

import configparser
import math
from pathlib import Path
from typing import NamedTuple

from clsa_search.errors import InputError
from clsa_search.wording import count_noun

FIELDS = ("frame", "track", "x", "y", "width", "height", "valid", "class", "visibility")
PEDESTRIAN = 1
DETECTORS = ("-DPM", "-FRCNN", "-SDP")
"""Suffixes in MOT17: it holds each sequence once per detector, with the same ground truth."""

_RULES = {
    "frame": (lambda v: v >= 1 and v.is_integer(), "an integer from 1"),
    "track": (lambda v: v >= 0 and v.is_integer(), "an integer from 0"),
    "width": (lambda v: v > 0, "above 0"),
    "height": (lambda v: v > 0, "above 0"),
    "visibility": (lambda v: 0 <= v <= 1, "from 0 to 1"),
}


class MOTSequence(NamedTuple):
    """A video.

    Args:
        name: name of the folder.
        number: number of the sequence, from 1.
        frames: image of each frame number, in order.
        ground_truth: file of the tracks.
    """

    name: str
    number: int
    frames: dict[int, Path]
    ground_truth: Path


class TrackedBox(NamedTuple):
    """A ground-truth box.

    Args:
        frame: frame number.
        track: track number, unique in the sequence.
        box: x, y, width, height in pixels; x and y count from 0.
        visibility: visible share, from 0 to 1.
    """

    frame: int
    track: int
    box: tuple[float, float, float, float]
    visibility: float


def find_sequences(source: str | Path) -> list[MOTSequence]:
    """Find the sequences of a folder, by name; of the copies for several detectors the first.

    Raises:
        InputError: there is no sequence in the folder, or one without frames.
    """
    source = Path(source)
    root = source / "train" if (source / "train").is_dir() else source
    folders: dict[str, Path] = {}
    for ground_truth in sorted(root.glob("*/gt/gt.txt")):
        folder = ground_truth.parent.parent
        video = folder.name
        for detector in DETECTORS:
            video = video.removesuffix(detector)
        folders.setdefault(video, folder)
    if not folders:
        raise InputError(f"{root}: no sequences; expected folders with gt/gt.txt and img1/")
    return [
        MOTSequence(folder.name, number, _find_frames(folder), folder / "gt" / "gt.txt")
        for number, folder in enumerate(folders.values(), start=1)
    ]


def read_ground_truth(sequence: MOTSequence) -> list[TrackedBox]:
    """Read the boxes of the valid pedestrians of a sequence.

    Raises:
        InputError: the file is not as described; the message names file, line, field, value and
            the expected value.
    """
    path = sequence.ground_truth
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable ground truth: {error}") from error
    boxes = []
    first_lines: dict[tuple[int, int], int] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{path}: line {number}"
        box = _parse_pedestrian(line, where) if line.strip() else None
        if box is None:
            continue
        if box.frame not in sequence.frames:
            folder = next(iter(sequence.frames.values())).parent
            raise InputError(f"{where}: frame is {box.frame}; expected one that is in {folder}")
        first = first_lines.setdefault((box.frame, box.track), number)
        if first != number:
            raise InputError(
                f"{where}: track is {box.track}; expected once in frame {box.frame}, "
                f"but line {first} has it too"
            )
        boxes.append(box)
    return boxes


def _find_frames(folder: Path) -> dict[int, Path]:
    config = configparser.ConfigParser()
    try:
        config.read(folder / "seqinfo.ini", encoding="utf-8")
        images = folder / config.get("Sequence", "imDir", fallback="img1")
        pattern = "*" + config.get("Sequence", "imExt", fallback=".jpg")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InputError(f"{folder / 'seqinfo.ini'}: not a readable INI file: {error}") from error
    frames = {int(path.stem): path for path in images.glob(pattern) if path.stem.isdecimal()}
    if not frames:
        raise InputError(f"{images}: no frames; expected {pattern} with the frame's number as name")
    return dict(sorted(frames.items()))


def _parse_pedestrian(line: str, where: str) -> TrackedBox | None:
    """Return the box of a line, or None if it is not a valid pedestrian."""
    values = _parse_numbers(line, where)
    if values["valid"] != 1 or values["class"] != PEDESTRIAN:
        return None
    for field, (check, expected) in _RULES.items():
        if not check(values[field]):
            raise InputError(f"{where}: {field} is {values[field]:g}; expected {expected}")
    return TrackedBox(
        frame=int(values["frame"]),
        track=int(values["track"]),
        box=(values["x"] - 1, values["y"] - 1, values["width"], values["height"]),
        visibility=values["visibility"],
    )


def _parse_numbers(line: str, where: str) -> dict[str, float]:
    texts = line.split(",")
    if len(texts) != len(FIELDS):
        raise InputError(
            f"{where}: {count_noun(len(texts), 'field')}; "
            f"expected {len(FIELDS)}: {', '.join(FIELDS)}"
        )
    values = {}
    for field, text in zip(FIELDS, texts, strict=True):
        try:
            values[field] = float(text)
        except ValueError:
            values[field] = math.nan
        if not math.isfinite(values[field]):
            raise InputError(f"{where}: {field} is {text.strip()!r}; expected a number")
    return values
