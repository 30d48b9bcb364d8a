"""Reading MOTChallenge folders: scenes, their frames, and the people of their ground truth.

    <source>/[train/]<scene>/gt/gt.txt        frame, track, x, y, width, height, valid, class,
                                              visibility
    <source>/[train/]<scene>/img1/000001.jpg  the frames
    <source>/[train/]<scene>/seqinfo.ini      optional: imDir, imExt

A person is a row with valid = 1 and class = 1. MOTChallenge counts pixels from 1: a box over a
whole 640 x 480 frame is 1, 1, 640, 480 there and 0, 0, 640, 480 here, so 1 is taken off x and y.
Format: Milan et al., "MOT16: A Benchmark for Multi-Object Tracking", arXiv 1603.00831.
"""

import configparser
import math
from pathlib import Path
from typing import NamedTuple

from clsa_search.errors import InputError

FIELDS = ("frame", "track", "x", "y", "width", "height", "valid", "class", "visibility")
PEDESTRIAN = 1
DETECTORS = ("-DPM", "-FRCNN", "-SDP")  # MOT17 holds every scene once for each, with equal contents

_RULES = {
    "frame": (lambda v: v >= 1 and v.is_integer(), "an integer from 1"),
    "track": (lambda v: v >= 0 and v.is_integer(), "an integer from 0"),
    "width": (lambda v: v > 0, "above 0"),
    "height": (lambda v: v > 0, "above 0"),
    "visibility": (lambda v: 0 <= v <= 1, "from 0 to 1"),
}


class Scene(NamedTuple):
    """One video: its number from 1, its frames by their number in order, and its tracks' file."""

    name: str
    number: int
    frames: dict[int, Path]
    ground_truth: Path


class Row(NamedTuple):
    """A person in a frame, as in the ground truth, but for x and y, which count from 0."""

    frame: int
    track: int
    box: tuple[float, float, float, float]  # x, y, width, height
    visibility: float
    line: int


def find_scenes(source: str | Path) -> list[Scene]:
    """The scenes of a folder, by name; of equal scenes for several detectors (MOT17) the first.

    Raises:
        InputError: there is no scene in the folder, or one without frames.
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
        raise InputError(f"{root}: no scenes; expected folders with gt/gt.txt and img1/")
    return [
        Scene(folder.name, number, _find_frames(folder), folder / "gt" / "gt.txt")
        for number, folder in enumerate(folders.values(), start=1)
    ]


def _find_frames(folder: Path) -> dict[int, Path]:
    config = configparser.ConfigParser()
    try:
        config.read(folder / "seqinfo.ini", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InputError(f"{folder / 'seqinfo.ini'}: not a readable INI file: {error}") from error
    images = folder / config.get("Sequence", "imDir", fallback="img1")
    pattern = "*" + config.get("Sequence", "imExt", fallback=".jpg")
    frames = {int(path.stem): path for path in images.glob(pattern) if path.stem.isdecimal()}
    if not frames:
        raise InputError(f"{images}: no frames; expected {pattern} with the frame's number as name")
    return dict(sorted(frames.items()))


def read_people(scene: Scene) -> list[Row]:
    """The people of a scene: valid rows of the class pedestrian, each in a frame that is there.

    Raises:
        InputError: names file, line, field, value and what would be right.
    """
    path = scene.ground_truth
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable ground truth: {error}") from error
    people: dict[tuple[int, int], Row] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{path}: line {number}"
        row = _parse_person(line, number, where) if line.strip() else None
        if row is None:
            continue
        if row.frame not in scene.frames:
            folder = next(iter(scene.frames.values())).parent
            raise InputError(f"{where}: frame is {row.frame}; expected one that is in {folder}")
        first = people.setdefault((row.frame, row.track), row)
        if first is not row:
            raise InputError(
                f"{where}: track is {row.track}; expected once in frame {row.frame}, "
                f"but line {first.line} has it too"
            )
    return list(people.values())


def _parse_person(line: str, number: int, where: str) -> Row | None:
    """The row of a line; None where it is no person."""
    values = _parse_numbers(line, where)
    if values["valid"] != 1 or values["class"] != PEDESTRIAN:
        return None
    for field, (check, expected) in _RULES.items():
        if not check(values[field]):
            raise InputError(f"{where}: {field} is {values[field]:g}; expected {expected}")
    return Row(
        frame=int(values["frame"]),
        track=int(values["track"]),
        box=(values["x"] - 1, values["y"] - 1, values["width"], values["height"]),
        visibility=values["visibility"],
        line=number,
    )


def _parse_numbers(line: str, where: str) -> dict[str, float]:
    texts = line.split(",")
    if len(texts) != len(FIELDS):
        raise InputError(
            f"{where}: {len(texts)} fields; expected {len(FIELDS)}: {', '.join(FIELDS)}"
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
