"""A report of answers: one HTML file that needs nothing but a browser."""

import base64
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile

import jinja2
import numpy as np
from PIL import Image, ImageDraw

from clsa_search.errors import InputError
from clsa_search.gallery import StoredDetection
from clsa_search.retrieval.results import (
    QueryResult,
    count_matches,
    draw_results,
    rank_entries,
    read_person_images,
    results_as_text,
)
from clsa_search.retrieval.times import format_time
from clsa_search.retrieval.video import locate_frame
from clsa_search.visualize import PersonImage, trim_to_tile
from clsa_search.visualize.boxes import draw_outlined_box

# pixels of pictures, bytes of their files: with these, 100 matches stay below 3 MB
CROP_SIZE, SCENE_SIZE, PICTURE_BYTES = (200, 284), (340, 255), 10_000
_QUALITIES = (88, 80, 70, 55, 40, 25)  # of JPEG, the best that is small enough
_QUERY_COLOR, _MATCH_COLOR = (0, 114, 178), (230, 159, 0)
_LEAST_BOX = 8  # pixels of a box in a small scene, to be seen at all


@dataclass(frozen=True)
class _Pictures:
    """A person and the whole scene, as data URIs; or why there are none."""

    crop: str = ""
    scene: str = ""
    fault: str = ""


@contextmanager
def reported_writes(path: str | os.PathLike) -> Iterator[None]:
    """Faults of writing there as InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror or error}; "
            "expected a place where files can be made, on a disk with free space"
        ) from error


def prepare_folder(path: str | os.PathLike) -> None:
    """Make a folder where there is none.

    Raises:
        InputError: it cannot be made, or no file in it.
    """
    with reported_writes(path):
        Path(path).mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path).close()


def write_results(
    answers: Sequence[QueryResult], folder: str | os.PathLike, *, address: str
) -> tuple[Path, Path]:
    """Write all that is left of a search: results.json, the sheets and report.html.

    Returns:
        The report, and the sheet that shows most.

    Raises:
        InputError: one of them cannot be written.
    """
    folder = Path(folder)
    with reported_writes(folder):
        (folder / "results.json").write_text(results_as_text(answers), encoding="utf-8")
        sheet = draw_results(answers, folder)[0]
    write_report(answers, folder / "report.html", address=address)
    return folder / "report.html", sheet


def write_report(answers: Sequence[QueryResult], path: str | os.PathLike, *, address: str) -> None:
    """Write a page with the queries' pictures and their matches, links to the sources included.

    Args:
        answers: in the order of the page.
        path: of the HTML file.
        address: of the gallery, for the heading.

    Raises:
        InputError: there cannot be such a file.
    """
    matches = {
        entry.detection_id: _show_match(found) for entry, found in read_person_images(answers)
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clsa_search.retrieval", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    functions = (
        count_matches,
        format_time,
        link_source,
        os.path.basename,
        rank_entries,
        _show_query,
    )
    page = environment.get_template("report.html").render(
        {function.__name__.lstrip("_"): function for function in functions},
        answers=answers,
        matches=matches,
        address=address,
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    )
    path = Path(path)
    with reported_writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # a file name need not be text
        path.write_text(page, encoding="utf-8", errors="replace")


def link_source(entry: StoredDetection) -> str:
    """URI of the file, of a video at the moment of the frame."""
    uri = Path(entry.source).absolute().as_uri()
    seconds = None if entry.frame is None else locate_frame(entry.source, entry.frame)
    return uri if seconds is None else f"{uri}#t={seconds:.3f}"


def _show_match(found: PersonImage | InputError) -> _Pictures:
    if isinstance(found, InputError):
        return _Pictures(fault=str(found))
    return _show(found, _MATCH_COLOR)


def _show_query(found: PersonImage) -> _Pictures:
    return _show(found, _QUERY_COLOR)


def _show(found: PersonImage, color: tuple[int, int, int]) -> _Pictures:
    crop = _embed(trim_to_tile(found), color, CROP_SIZE)
    return _Pictures(crop=crop, scene=_embed(found, color, SCENE_SIZE))


def _embed(sighting: PersonImage, color: tuple[int, int, int], size: tuple[int, int]) -> str:
    """The image and its box as a data URI; it fits into the size, and about into `PICTURE_BYTES`.

    Small images are enlarged, so that the lines of the box stay thin beside the person.
    """
    height, width = sighting.image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    shown = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(sighting.image).resize(shown, Image.Resampling.LANCZOS)
    box = _widen(np.asarray(sighting.box, dtype=float) * scale)
    draw_outlined_box(ImageDraw.Draw(picture), box, color, line=3)
    for quality in _QUALITIES:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= PICTURE_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _widen(box: np.ndarray) -> np.ndarray:
    missing = np.maximum(0, _LEAST_BOX - (box[2:] - box[:2])) / 2
    return np.concatenate([box[:2] - missing, box[2:] + missing])
