"""Images of results: pixels of the matches, placeholders, ranking sheets."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import Match, StoredDetection
from clsa_search.retrieval.frame_reader import FrameReader
from clsa_search.retrieval.results import QueryResult, count_matches, describe_span
from clsa_search.retrieval.source_files import FILE_STATE, describe_file
from clsa_search.retrieval.time_format import format_time
from clsa_search.structures import PersonImage
from clsa_search.visualize import (
    MatchImage,
    Ranking,
    draw_ranking_overview,
    draw_ranking_sheet,
    make_placeholder,
    trim_to_tile,
)

# limits for common image viewers
MAX_SHEET_MATCHES, MAX_OVERVIEW_MATCHES, MAX_OVERVIEW_QUERIES = 100, 10, 50


def draw_results(results: Sequence[QueryResult], output_dir: str | Path) -> list[Path]:
    """Draw a ranking sheet for each query, and an overview if there are several.

    Unreadable images become placeholders.

    Args:
        results: results of queries.
        output_dir: folder for `query_<number>.png`, counted from 1, and `queries.png`.

    Returns:
        Paths of the overview, if there is one, and of the sheets.
    """
    shown = [replace(result, matches=result.matches[:MAX_SHEET_MATCHES]) for result in results]
    tiles = {
        detection.detection_id: _to_tile(detection, image)
        for detection, image in read_result_images(shown)
    }
    folder = Path(output_dir)
    sheets, rankings = [], []
    for result in results:
        rankings.append(_to_ranking(result, tiles))
        sheets.append(folder / f"query_{len(rankings)}.png")
        draw_ranking_sheet(rankings[-1], sheets[-1])
    if len(rankings) < 2:
        return sheets
    rows = [
        replace(ranking.trim(), matches=ranking.matches[:MAX_OVERVIEW_MATCHES])
        for ranking in rankings[:MAX_OVERVIEW_QUERIES]
    ]
    draw_ranking_overview(rows, folder / "queries.png")
    return [folder / "queries.png", *sheets]


def read_result_images(
    results: Sequence[QueryResult],
) -> Iterator[tuple[StoredDetection, PersonImage | InputError]]:
    """Yield the images of all matches, as :func:`read_person_images`; each detection once."""
    detections = {one.detection_id: one for result in results for one in result.detections}
    fingerprints = {k: v for result in results for k, v in result.fingerprints.items()}
    return read_person_images(detections.values(), fingerprints)


def read_person_images(
    detections: Iterable[StoredDetection], fingerprints: Mapping[str, str | None]
) -> Iterator[tuple[StoredDetection, PersonImage | InputError]]:
    """Yield detections with their images, or with the reason for a missing one.

    Each image is read once, and the frames of a video are read in their order. Whole images are
    large: trim them before keeping many.

    Args:
        detections: detections of a gallery.
        fingerprints: see :class:`QueryResult`.
    """
    with closing(FrameReader()) as reader:
        for (source, _), group in groupby(sorted(detections, key=_image_key), key=_image_key):
            yield from _read_image_of(list(group), fingerprints.get(source), reader)


def check_unchanged(path: str, fingerprint: str | None) -> None:
    """Check a file for changes since it was indexed.

    Args:
        path: image or video.
        fingerprint: state of the file in its `IndexProgress`; without size and time of change, no
            file is refused.

    Raises:
        InputError: the file changed or cannot be reached.
    """
    indexed = FILE_STATE.match(fingerprint or "")
    if indexed and indexed[0] != (now := describe_file(path)):
        raise InputError(f"{path}: changed since it was indexed: {now}; expected {indexed[0]}")


def _image_key(detection: StoredDetection) -> tuple[str, int]:
    return detection.source, -1 if detection.frame is None else detection.frame


def _read_image_of(
    detections: Sequence[StoredDetection], fingerprint: str | None, reader: FrameReader
) -> Iterator[tuple[StoredDetection, PersonImage | InputError]]:
    """Read the image of some detections, all of the same image."""
    source, frame = detections[0].source, detections[0].frame
    try:
        check_unchanged(source, fingerprint)
        image = reader.read(source, frame)
    except InputError as error:
        yield from ((detection, error) for detection in detections)
        return
    height, width = image.shape[:2]
    for detection in detections:
        x0, y0, x1, y1 = detection.box
        if x0 < width and y0 < height and x1 > 0 and y1 > 0:
            yield detection, PersonImage(image, np.array(detection.box), _caption(detection))
        else:
            yield (
                detection,
                InputError(
                    f"{source}: {width} x {height} pixels, the box lies outside; "
                    "expected the image that was indexed"
                ),
            )


def _caption(detection: StoredDetection) -> str:
    name = f"{Path(detection.source).stem} {format_time(detection.time)}".rstrip()
    return f"{detection.camera} · {name}" if detection.camera else name


def _describe_span(match: Match) -> str:
    """Return how long the person of a tracklet was seen, to follow a caption."""
    tracklet = match.tracklet
    return f" · {describe_span(tracklet)}" if tracklet and tracklet.detections > 1 else ""


def _to_tile(detection: StoredDetection, image: PersonImage | InputError) -> PersonImage:
    if isinstance(image, InputError):
        return make_placeholder(_caption(detection))
    return trim_to_tile(image)


def _to_ranking(result: QueryResult, tiles: Mapping[int, PersonImage]) -> Ranking:
    """Return the ranking of a sheet, with at most `MAX_SHEET_MATCHES` matches."""
    matches = [
        MatchImage(tile.image, tile.box, tile.caption + _describe_span(match), match.similarity)
        for match in result.matches[:MAX_SHEET_MATCHES]
        for tile in [tiles[match.detection.detection_id]]
    ]
    total = len(result.matches)
    cut = f", best {len(matches)} shown" if len(matches) < total else ""
    query, *further = result.query_images
    return Ranking(query, matches, result.title, f"{count_matches(total)}{cut}", further)
