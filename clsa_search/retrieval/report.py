"""Files of a search: results.json, ranking sheets and a report of one HTML file."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image, ImageDraw

from clsa_search.errors import InputError
from clsa_search.gallery import StoredDetection
from clsa_search.output_checks import reported_writes
from clsa_search.retrieval.coverage_lanes import CoverageView, draw_coverage
from clsa_search.retrieval.result_images import draw_results, read_result_images
from clsa_search.retrieval.results import (
    QueryResult,
    count_matches,
    describe_days,
    describe_span,
    list_warnings,
)
from clsa_search.retrieval.search_answers import results_as_text
from clsa_search.retrieval.search_scope import SearchScope, format_calibration, format_filters
from clsa_search.retrieval.time_format import format_time
from clsa_search.retrieval.video import locate_frame
from clsa_search.sightings.match_verdicts import LIMITS, describe_chance, describe_strangers
from clsa_search.structures import PersonImage
from clsa_search.visualize import trim_to_tile
from clsa_search.visualize.boxes import draw_outlined_box
from clsa_search.visualize.resizing import shrink

# (width, height) in pixels, bytes of a JPEG: a report of 100 matches stays below 3 MB
CROP_SIZE, IMAGE_SIZE, MAX_JPEG_BYTES = (200, 284), (340, 255), 10_000
_JPEG_QUALITIES = (88, 80, 70, 55, 40, 25)
_QUERY_COLOR, _MATCH_COLOR = (0, 114, 178), (230, 159, 0)
_MIN_BOX_SIZE = 8  # pixels; a smaller box could not be seen


@dataclass(frozen=True)
class _ReportImages:
    """Images of one person in the report.

    Args:
        crop: data URI of the person with some surroundings.
        image: data URI of the whole image.
        fault: reason why there are none.
    """

    crop: str = ""
    image: str = ""
    fault: str = ""


def write_results(
    results: Sequence[QueryResult],
    folder: str | os.PathLike,
    *,
    address: str,
    scope: SearchScope | None = None,
) -> tuple[Path, Path]:
    """Write results.json, ranking sheets and report.html.

    Args:
        results: results of queries, at least one.
        folder: existing folder.
        address: address of the gallery.
        scope: scope of the queries.

    Returns:
        Paths of the report and of the first sheet or the overview.

    Raises:
        InputError: a file cannot be written.
    """
    folder = Path(folder)
    with reported_writes(folder):
        (folder / "results.json").write_text(results_as_text(results, scope), encoding="utf-8")
        sheet = draw_results(results, folder)[0]
    write_report(results, folder / "report.html", address=address, scope=scope)
    return folder / "report.html", sheet


def write_report(
    results: Sequence[QueryResult],
    path: str | os.PathLike,
    *,
    address: str,
    scope: SearchScope | None = None,
) -> None:
    """Write a page with the query images, the matches and links to their files.

    Args:
        results: results of queries.
        path: HTML file.
        address: address of the gallery, for the heading.
        scope: scope of the queries.

    Raises:
        InputError: the file cannot be written.
    """
    match_images = {
        detection.detection_id: _show_match(image)
        for detection, image in read_result_images(results)
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clsa_search.retrieval", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("report.html").render(
        results=results,
        scope=scope,
        coverage=_draw_coverage(results, scope),
        match_images=match_images,
        address=address,
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        basename=os.path.basename,
        count_matches=count_matches,
        describe_strangers=describe_strangers,
        describe_chance=describe_chance,
        limits=LIMITS,
        describe_days=describe_days,
        describe_span=describe_span,
        list_warnings=list_warnings,
        format_time=format_time,
        format_filters=format_filters,
        format_calibration=format_calibration,
        link_source=link_source,
        show_query=_show_query,
    )
    path = Path(path)
    with reported_writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # "replace": file names may hold bytes of no text
        path.write_text(page, encoding="utf-8", errors="replace")


def _draw_coverage(
    results: Sequence[QueryResult], scope: SearchScope | None
) -> CoverageView | None:
    if scope is None:
        return None
    shown = [match for result in results for match in result.matches]
    detections = [match.detection for match in shown]
    moments = [(one.camera, one.time) for one in detections if one.time is not None]
    return draw_coverage(scope.coverage, format_time, moments)


def link_source(detection: StoredDetection) -> str:
    """Return the URI of a detection's file, for a video with the time of the frame."""
    uri = Path(detection.source).absolute().as_uri()
    if detection.frame is None:
        return uri
    seconds = locate_frame(detection.source, detection.frame)
    return uri if seconds is None else f"{uri}#t={seconds:.3f}"


def _show_match(image: PersonImage | InputError) -> _ReportImages:
    if isinstance(image, InputError):
        return _ReportImages(fault=str(image))
    return _show(image, _MATCH_COLOR)


def _show_query(image: PersonImage) -> _ReportImages:
    return _show(image, _QUERY_COLOR)


def _show(person: PersonImage, color: tuple[int, int, int]) -> _ReportImages:
    crop = _to_data_uri(trim_to_tile(person), color, CROP_SIZE)
    return _ReportImages(crop=crop, image=_to_data_uri(person, color, IMAGE_SIZE))


def _to_data_uri(person: PersonImage, color: tuple[int, int, int], size: tuple[int, int]) -> str:
    """Draw the box and return a JPEG as a data URI.

    The image is scaled to fit into `size`, small images too: the lines of the box stay thin. The
    JPEG has about `MAX_JPEG_BYTES` at most.
    """
    pixels, box = shrink(person.image, person.box, size)
    height, width = pixels.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    scaled = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(pixels).resize(scaled, Image.Resampling.LANCZOS)
    box = _enlarge(box * scale)
    draw_outlined_box(ImageDraw.Draw(image), box, color, line=3)
    for quality in _JPEG_QUALITIES:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= MAX_JPEG_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _enlarge(box: np.ndarray) -> np.ndarray:
    missing = np.maximum(0, _MIN_BOX_SIZE - (box[2:] - box[:2])) / 2
    return np.concatenate([box[:2] - missing, box[2:] + missing])
