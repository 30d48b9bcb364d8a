"""What a gallery answers to queries: who that is and where, as text, as JSON, as ranking sheets."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tabulate import tabulate

from clsa_search.errors import InputError
from clsa_search.gallery import StoredDetection
from clsa_search.retrieval.frame_reader import FrameReader
from clsa_search.retrieval.media import describe_file
from clsa_search.retrieval.times import format_time
from clsa_search.visualize import (
    MatchImage,
    PersonImage,
    Ranking,
    draw_ranking_overview,
    draw_ranking_sheet,
    trim_to_tile,
)

# at most, so that a picture stays one that programs open
SHEET_MATCHES, OVERVIEW_MATCHES, OVERVIEW_QUERIES = 100, 10, 50
_STATE = re.compile(r"\d+ bytes of -?\d+")  # what `describe_file` said, as fingerprints begin


@dataclass(frozen=True)
class QueryResult:
    """A query and its best matches in a gallery."""

    title: str
    query_images: Sequence[PersonImage]  # of the query, at least one
    entries: Sequence[StoredDetection]  # best first
    similarities: Sequence[float]  # of the entries
    # of the entries' sources, where they are known: without, a changed file is shown as it is
    fingerprints: Mapping[str, str | None] = field(default_factory=dict)


def format_results(answers: Sequence[QueryResult]) -> str:
    """A table for each query; its boxes are written as the command takes them."""
    return "\n\n".join(f"{printable(answer.title)}\n{_format_table(answer)}" for answer in answers)


def results_as_json(answers: Sequence[QueryResult]) -> dict[str, Any]:
    """All but pictures and embeddings, as plain numbers and text that `json` writes."""
    return {
        "queries": [
            {
                "title": answer.title,
                "pictures": [
                    {"caption": picture.caption, "box": _as_floats(picture.box)}
                    for picture in answer.query_images
                ],
                "matches": [
                    {"rank": rank, "similarity": float(similarity)} | _as_plain(entry)
                    for rank, entry, similarity in rank_entries(answer)
                ],
            }
            for answer in answers
        ]
    }


def results_as_text(answers: Sequence[QueryResult]) -> str:
    """`results_as_json` written out; what is no text in a file name is replaced."""
    written = json.dumps(results_as_json(answers), indent=1, ensure_ascii=False)
    return written.encode(errors="replace").decode()


def draw_results(answers: Sequence[QueryResult], output_dir: str | Path) -> list[Path]:
    """Draw a sheet for each query, `query_<number>.png` from 1 on, and `queries.png` with several.

    A picture that cannot be read any more leaves a tile that is crossed out.

    Returns:
        The overview, if there is one, and the sheets in the order of the answers.
    """
    shown = [_cut(answer, SHEET_MATCHES) for answer in answers]
    tiles = {
        entry.detection_id: _as_tile(entry, found) for entry, found in read_person_images(shown)
    }
    folder, sheets, rankings = Path(output_dir), [], []
    for answer in answers:
        rankings.append(_rank(answer, tiles))
        sheets.append(folder / f"query_{len(rankings)}.png")
        draw_ranking_sheet(rankings[-1], sheets[-1])
    if len(rankings) < 2:
        return sheets
    rows = [
        replace(ranking.trim(), matches=ranking.matches[:OVERVIEW_MATCHES])
        for ranking in rankings[:OVERVIEW_QUERIES]
    ]
    draw_ranking_overview(rows, folder / "queries.png")
    return [folder / "queries.png", *sheets]


def read_person_images(
    answers: Sequence[QueryResult],
) -> Iterator[tuple[StoredDetection, PersonImage | InputError]]:
    """Each entry once, with its picture, or with what keeps it from being shown.

    A picture is read once for all its people, and those of a video follow its course. Pictures are
    large: of many, keep no more than a part.
    """
    entries = {entry.detection_id: entry for answer in answers for entry in answer.entries}
    known = {path: said for answer in answers for path, said in answer.fingerprints.items()}
    with closing(FrameReader()) as reader:
        for (source, _), people in groupby(sorted(entries.values(), key=_place), key=_place):
            yield from _find_people(reader, list(people), known.get(source))


def rank_entries(answer: QueryResult) -> Iterator[tuple[int, StoredDetection, float]]:
    """Rank from 1, entry and similarity of each match."""
    ranks = range(1, len(answer.entries) + 1)
    return zip(ranks, answer.entries, answer.similarities, strict=True)


def check_unchanged(path: str, fingerprint: str | None) -> None:
    """See that a file is the one that was indexed, by its size and time of change.

    Args:
        path: of the file.
        fingerprint: as `IndexProgress` has it; one that does not say these lets any file pass.

    Raises:
        InputError: the file is another, or cannot be reached.
    """
    said = _STATE.match(fingerprint or "")
    if said and said[0] != (now := describe_file(path)):
        raise InputError(f"{path}: changed since it was indexed: {now}; expected {said[0]}")


def draw_placeholder(caption: str) -> PersonImage:
    """What is shown of a person whose picture cannot be: an empty tile, crossed out."""
    picture = Image.new("RGB", (114, 162), "#ececec")
    draw = ImageDraw.Draw(picture)
    draw.line([0, 0, 114, 162], fill="#b0b0b0", width=2)
    draw.line([0, 162, 114, 0], fill="#b0b0b0", width=2)
    return PersonImage(np.asarray(picture), np.array([0, 0, 114, 162]), caption)


def printable(text: str) -> str:
    """The text, or its escaped form where it would do something to a terminal."""
    return text if text.isprintable() else ascii(text)


def count_matches(count: int) -> str:
    """The number as one says it."""
    return f"{count or 'no'} match{'' if count == 1 else 'es'}"


def _format_table(answer: QueryResult) -> str:
    if not answer.entries:
        return "no matches"
    rows = [
        [
            rank,
            f"{similarity:.3f}",
            printable(entry.source),
            "" if entry.frame is None else entry.frame,
            format_time(entry.time),
            printable(entry.camera or ""),
            ",".join(f"{value:.0f}" for value in entry.box),
            f"{entry.score:.2f}",
            entry.detection_id,
        ]
        for rank, entry, similarity in rank_entries(answer)
    ]
    headers = ["rank", "similarity", "source", "frame", "time", "camera", "box", "score", "id"]
    right = {"rank", "similarity", "frame", "time", "score", "id"}
    aligned = ["right" if header in right else "left" for header in headers]
    # a camera "007" is no number
    return tabulate(rows, headers, disable_numparse=True, colalign=aligned)


def _as_plain(entry: StoredDetection) -> dict[str, Any]:
    hidden = {"detection_id", "embedding"}
    values = {one.name: getattr(entry, one.name) for one in fields(entry) if one.name not in hidden}
    numbers = {"box": _as_floats(entry.box), "score": float(entry.score)}
    return {"id": entry.detection_id} | values | numbers


def _as_floats(box: Sequence[float] | np.ndarray) -> list[float]:
    return [float(value) for value in box]


def _place(entry: StoredDetection) -> tuple[str, int]:
    """Of its picture, to sort by."""
    return entry.source, -1 if entry.frame is None else entry.frame


def _find_people(
    reader: FrameReader, entries: Sequence[StoredDetection], fingerprint: str | None
) -> Iterator[tuple[StoredDetection, PersonImage | InputError]]:
    """Entries of one picture."""
    source, frame = entries[0].source, entries[0].frame
    try:
        check_unchanged(source, fingerprint)
        image = reader.read(source, frame)
    except InputError as error:
        yield from ((entry, error) for entry in entries)
        return
    height, width = image.shape[:2]
    for entry in entries:
        x0, y0, x1, y1 = entry.box
        if x0 < width and y0 < height and x1 > 0 and y1 > 0:
            yield entry, PersonImage(image, np.array(entry.box), _describe(entry))
        else:
            change = f"{source}: {width} x {height} pixels, the box lies outside; it was another"
            yield entry, InputError(f"{change} picture when it was indexed")


def _describe(entry: StoredDetection) -> str:
    """Camera, file and time."""
    name = f"{Path(entry.source).stem} {format_time(entry.time)}".rstrip()
    return f"{entry.camera} · {name}" if entry.camera else name


def _as_tile(entry: StoredDetection, found: PersonImage | InputError) -> PersonImage:
    return (
        trim_to_tile(found)
        if isinstance(found, PersonImage)
        else draw_placeholder(_describe(entry))
    )


def _cut(answer: QueryResult, count: int) -> QueryResult:
    entries, similarities = answer.entries[:count], answer.similarities[:count]
    return replace(answer, entries=entries, similarities=similarities)


def _rank(answer: QueryResult, tiles: Mapping[int, PersonImage]) -> Ranking:
    """The best of the answer, as its sheet shows them."""
    shown = _cut(answer, SHEET_MATCHES)
    matches = [
        MatchImage(tile.image, tile.box, tile.caption, similarity)
        for _, entry, similarity in rank_entries(shown)
        for tile in [tiles[entry.detection_id]]
    ]
    total = len(answer.entries)
    cut = f", best {len(matches)} shown" if len(matches) < total else ""
    query, *further = answer.query_images
    return Ranking(query, matches, answer.title, f"{count_matches(total)}{cut}", further)
