"""Reading of detections of other programs.

MOTChallenge's det.txt: frame, track, x, y, width, height, score, and up to three further fields;
    frames count from 1, x and y from 0
COCO's results: [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}, ...], or a
    COCO file whose annotations have scores
YOLO's labels: a folder with <image>.txt or <video>_<frame>.txt, lines of class, center x, center y,
    width, height (in shares of the image's sides), and optionally the score
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clsa_search.data.datasets.json_reader import Section, is_box, is_id, is_integer
from clsa_search.data.given_detections import GivenBoxes, GivenDetections
from clsa_search.errors import InputError
from clsa_search.json_files import read_json
from clsa_search.wording import count_noun

_MOT_FIELDS = ("frame", "track", "x", "y", "width", "height", "score")
_YOLO_FIELDS = ("class", "x", "y", "width", "height", "score")
_LARGEST = 1e9  # pixels
_PERSON_IN_COCO, _PERSON_IN_YOLO = 1, 0


class ImageList(NamedTuple):
    """Images of a COCO file.

    Args:
        file_names: names of files by the text of their ids.
        categories: ids of categories by their names in lower case.
    """

    file_names: Mapping[str, str]
    categories: Mapping[str, int]


class _Row(NamedTuple):
    """A detection: name of its image, x, y, width and height, score, class."""

    name: str | int
    box: Sequence[float]
    score: float
    category: int | None


def read_detections(
    path: str | os.PathLike, images: ImageList | None = None, category: str | None = None
) -> GivenDetections:
    """Read a folder of YOLO labels, a JSON file of COCO, or else a text file of MOTChallenge.

    Args:
        path: file or folder.
        images: names of the images of COCO's `image_id`; other ids are names themselves.
        category: class of persons, its number or, in COCO files with categories, its name. By
            default 0 in YOLO labels; "person", or else 1, in COCO files.

    Raises:
        InputError: the file is not as described, or holds no box of the class; the message names
            file, line, field, value and the expected value.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        return _read_yolo(Path(path), category)
    if path.lower().endswith(".json"):
        return _read_coco(Path(path), images, category)
    if category is not None:
        raise InputError(f"{path}: has no classes; expected no category {category!r}")
    lines = enumerate(_read_lines(Path(path)), start=1)
    rows = [_parse_mot(line, f"{path}: line {i}") for i, line in lines if line.strip()]
    return GivenDetections(path, _group(rows), counts_frames=True)


def read_image_list(path: str | os.PathLike) -> ImageList:
    """Read ids and file names of the images in a COCO file, and its categories.

    Raises:
        InputError: the file is not as described.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: holds no object; expected one with 'images', as in COCO files")
    return _list_images(document, Path(path))


def _list_images(document: dict, path: Path) -> ImageList:
    images = Section(document, "images", path)
    names = images.column("file_name", lambda v: isinstance(v, str) and v != "", "a file")
    ids = map(str, images.unique_ids())
    categories = Section(document, "categories", path, required=False)
    numbers = categories.column("id", is_integer, "an integer")
    labels = categories.column("name", lambda v: isinstance(v, str), "a text")
    by_name = dict(zip((label.casefold() for label in labels), numbers, strict=True))
    return ImageList(dict(zip(ids, names, strict=True)), by_name)


def _read_coco(path: Path, images: ImageList | None, category: str | None) -> GivenDetections:
    document: Any = read_json(path)
    name = "results"
    if isinstance(document, dict):
        name = "annotations"
        images = images or _list_images(document, path)
    else:
        document = {name: document}
    results = Section(document, name, path)
    images = images or ImageList({}, {})
    box = "[x, y, width, height] in pixels, finite, with width and height above 0"
    ids = results.column("image_id", is_id, "an integer or a text")
    rows = map(
        _Row,
        (images.file_names.get(str(image_id), image_id) for image_id in ids),
        results.column("bbox", is_box, box),
        results.column("score", _is_score, "a number from 0 to 1"),
        results.column("category_id", is_integer, "an integer"),
    )
    wanted = _to_number(category, images, path)
    return GivenDetections(str(path), _group(_select(list(rows), wanted, str(path))))


def _to_number(category: str | None, images: ImageList, path: Path) -> int:
    """Return the id of a category given by its name or id."""
    if category is None:
        return images.categories.get("person", _PERSON_IN_COCO)
    if category.casefold() in images.categories:
        return images.categories[category.casefold()]
    return _to_class(category, f"{path}: category", list(images.categories))


def _to_class(text: str, where: str, names: Sequence[str] = ()) -> int:
    try:
        return int(text)
    except ValueError as error:
        choices = f" or one of {', '.join(names[:80])}" if names else ""
        raise InputError(f"{where} is {text!r}; expected its number{choices}") from error


def _read_yolo(folder: Path, category: str | None) -> GivenDetections:
    wanted = _PERSON_IN_YOLO
    if category is not None:
        wanted = _to_class(category, f"{folder}: category")
    files = sorted(path for path in folder.rglob("*.txt") if path.name != "classes.txt")
    if not files:
        raise InputError(f"{folder}: no labels; expected <image>.txt or <video>_<frame>.txt")
    rows = []
    for path in files:
        name = path.relative_to(folder).with_suffix("").as_posix()
        rows += [
            _parse_yolo(line, f"{path}: line {i}", name)
            for i, line in enumerate(_read_lines(path), start=1)
            if line.strip()
        ]
    grouped = _group(_select(rows, wanted, str(folder)), is_relative=True)
    return GivenDetections(str(folder), grouped)


def _select(rows: list[_Row], category: int, where: str) -> list[_Row]:
    """Return the detections of a class; others are dropped, unless there are only others."""
    selected = [row for row in rows if row.category == category]
    if rows and not selected:
        found = ", ".join(map(str, sorted({row.category or 0 for row in rows})[:20]))
        raise InputError(
            f"{where}: no box of class {category}; expected the class of persons, of {found}"
        )
    return selected


def _group(rows: Sequence[_Row], *, is_relative: bool = False) -> dict[str | int, GivenBoxes]:
    """Return the boxes of each image, in the order of the file."""
    groups: dict[str | int, list[_Row]] = {}
    for row in rows:
        groups.setdefault(row.name, []).append(row)
    grouped = {}
    for name, group in groups.items():
        boxes = np.array([row.box for row in group], dtype=np.float64)
        boxes[:, 2:] += boxes[:, :2]
        scores = np.array([row.score for row in group], dtype=np.float64)
        grouped[name] = GivenBoxes(boxes, scores, is_relative)
    return grouped


def _parse_mot(line: str, where: str) -> _Row:
    texts = line.split(",") if "," in line else line.split()
    frame, _, *box, score = _parse_numbers(texts, _MOT_FIELDS, where, count=(7, 10))
    if frame < 1 or not frame.is_integer():
        raise InputError(f"{where}: frame is {frame:g}; expected an integer from 1")
    _check(box, score, _MOT_FIELDS[2:6], where, largest=_LARGEST, unit="pixels")
    return _Row(int(frame), box, score, None)


def _parse_yolo(line: str, where: str, name: str) -> _Row:
    texts = line.split()
    if len(texts) == len(_YOLO_FIELDS) - 1:
        texts.append("1")  # labels without scores
    category, *box, score = _parse_numbers(texts, _YOLO_FIELDS, where, count=(6, 7))
    if category < 0 or not category.is_integer():
        raise InputError(f"{where}: class is {category:g}; expected an integer from 0")
    _check(box, score, _YOLO_FIELDS[1:5], where, largest=2, unit="shares of the image's sides")
    x, y, width, height = box
    return _Row(name, (x - width / 2, y - height / 2, width, height), score, int(category))


def _parse_numbers(
    texts: Sequence[str], fields: Sequence[str], where: str, count: tuple[int, int]
) -> list[float]:
    """Return the numbers of the named fields; further fields, up to a count, are not read."""
    if not count[0] <= len(texts) <= count[1]:
        raise InputError(
            f"{where}: {count_noun(len(texts), 'field')}; expected {', '.join(fields)}"
        )
    return list(_convert(texts, fields, where))


def _convert(texts: Sequence[str], fields: Sequence[str], where: str) -> Iterator[float]:
    for field, text in zip(fields, texts, strict=False):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{where}: {field} is {text.strip()[:60]!r}; expected a number")
        yield value


def _check(
    box: Sequence[float],
    score: float,
    fields: Sequence[str],
    where: str,
    *,
    largest: float,
    unit: str,
) -> None:
    for field, value in zip(fields, box, strict=True):
        if abs(value) > largest:
            raise InputError(f"{where}: {field} is {value:g}; expected {unit}")
        if field in ("width", "height") and value <= 0:
            raise InputError(f"{where}: {field} is {value:g}; expected {unit}, above 0")
    if not _is_score(score):
        raise InputError(f"{where}: score is {score:g}; expected a number from 0 to 1")


def _is_score(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path}: not a readable text file: {error}") from error
