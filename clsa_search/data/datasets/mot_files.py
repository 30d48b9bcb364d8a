"""Reading of MOTChallenge folders: sequences, their frames and their ground-truth boxes.

    <source>/[train/]<sequence>/gt/gt.txt        frame, track, x, y, width, height, valid, class,
                                                 visibility
    <source>/[train/]<sequence>/gt/labels.txt    optional: name of each class, as CVAT exports it
    <source>/[train/]<sequence>/img1/000001.jpg  the frames
    <source>/[train/]<sequence>/seqinfo.ini      optional: imDir, imExt, frameRate

The source can be a sequence itself. Rows with valid = 1 and the class of persons are read.
MOTChallenge counts pixels from 1: the box of a whole 640 x 480 frame is 1, 1, 640, 480 there and
0, 0, 640, 480 here, so x and y are reduced by 1.
Format: Milan et al., "MOT16: A Benchmark for Multi-Object Tracking", arXiv 1603.00831.
"""

import configparser
import math
from pathlib import Path
from typing import NamedTuple

from clsa_search.data.datasets.mot_frames import find_frames
from clsa_search.errors import InputError
from clsa_search.wording import count_noun

FIELDS = ("frame", "track", "x", "y", "width", "height", "valid", "class", "visibility")
PEDESTRIAN = 1
"""Class of persons without a file of labels."""

PERSON_LABELS = ("person", "pedestrian", "people", "persons", "pedestrians")
"""Names of the class of persons in a file of labels, in lower case."""

DETECTORS = ("-DPM", "-FRCNN", "-SDP")
"""Suffixes in MOT17: it holds each sequence once per detector, with the same ground truth."""

_RULES = {
    "frame": (lambda v: v >= 0 and v.is_integer(), "an integer from 1"),
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
        frame_rate: frames per second, None if it is not known.
    """

    name: str
    number: int
    frames: dict[int, Path]
    ground_truth: Path
    frame_rate: float | None = None


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
    alone = root / "gt" / "gt.txt"
    found = [alone.resolve()] if alone.is_file() else sorted(root.glob("*/gt/gt.txt"))
    for ground_truth in found:
        folder = ground_truth.parent.parent
        video = folder.name
        for detector in DETECTORS:
            video = video.removesuffix(detector)
        folders.setdefault(video, folder)
    if not folders:
        raise InputError(f"{root}: no sequences; expected folders with gt/gt.txt and img1/")
    return [_read_sequence(folder, i) for i, folder in enumerate(folders.values(), start=1)]


def read_ground_truth(sequence: MOTSequence, label: str | None = None) -> list[TrackedBox]:
    """Read the valid boxes of the persons of a sequence.

    Args:
        sequence: a sequence of `find_sequences`.
        label: name of the class of persons in labels.txt; by default "person", "pedestrian" or
            their plurals. Without that file the class is 1.

    Raises:
        InputError: a file is not as described; the message names file, line, field, value and the
            expected value.
    """
    path = sequence.ground_truth
    lines = _read_lines(path)
    person = _find_class(path.with_name("labels.txt"), label)
    boxes = []
    first_lines: dict[tuple[int, int], int] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{path}: line {number}"
        box = _parse_person(line, where, person) if line.strip() else None
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


def _read_sequence(folder: Path, number: int) -> MOTSequence:
    config = configparser.ConfigParser(interpolation=None)
    path = folder / "seqinfo.ini"
    try:
        config.read(path, encoding="utf-8-sig")
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: not a readable INI file: {error}") from error
    info = dict(config["Sequence"]) if "Sequence" in config else {}
    suffix = info.get("imext", "").lower()
    return MOTSequence(
        name=folder.name,
        number=number,
        frames=find_frames(folder / info.get("imdir", "img1"), suffix),
        ground_truth=folder / "gt" / "gt.txt",
        frame_rate=_parse_rate(info["framerate"], path) if "framerate" in info else None,
    )


def _parse_rate(text: str, path: Path) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise InputError(f"{path}: frameRate is {text!r}; expected frames per second, above 0")
    return rate


def _find_class(path: Path, label: str | None) -> int:
    """Return the class of persons: its line in the file of labels, from 1."""
    if not path.exists():
        if label is not None:
            raise InputError(f"{path}: no such file; expected it with the label {label!r}")
        return PEDESTRIAN
    labels = [line.strip() for line in _read_lines(path)]
    wanted = PERSON_LABELS if label is None else (label.casefold(),)
    found = [i for i, name in enumerate(labels, start=1) if name.casefold() in wanted]
    if len(found) == 1:
        return found[0]
    names = ", ".join(name for name in labels if name) or "none"
    raise InputError(
        f"{path}: {count_noun(len(found), 'label')} for {' or '.join(wanted)}; "
        f"expected --label with one of {names}"
    )


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable text file: {error}") from error


def _parse_person(line: str, where: str, person: int) -> TrackedBox | None:
    """Return the box of a line, or None if it is not a valid person, of class `person`."""
    values = _parse_numbers(line, where)
    if values["valid"] != 1 or values["class"] != person:
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
