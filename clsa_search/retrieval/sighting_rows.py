"""Rows of sightings for tables and evidence: where and when somebody was seen."""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone, tzinfo

from clsa_search.gallery import GalleryStore, Source, StoredDetection
from clsa_search.retrieval.source_base import seconds_in_file
from clsa_search.retrieval.time_format import CALENDAR_FROM, format_time

CSV_COLUMNS = (
    "sighting",
    "camera",
    "first",
    "last",
    "source",
    "seconds_in_file",
    *("x0", "y0", "x1", "y1"),
    "similarity",
    "expected_strangers",
    "verdict",
    "probability",
    "said",
    "origin",
)
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")


@dataclass(frozen=True)
class Judgment:
    """The part of a search result that an export repeats.

    Args:
        similarity: similarity with the query.
        expected_strangers: expected number of strangers this alike; None if not calibrated.
        verdict: words for this number; None if not calibrated.
        said: the user's own verdict, "same" or "other".
        is_bound: whether fewer strangers are expected than the number says.
        other_day: whether a midnight lies between the sighting and the query.
        probability: chance of the same person by all verdicts; None with too few.
    """

    similarity: float | None = None
    expected_strangers: float | None = None
    verdict: str | None = None
    said: str | None = None
    is_bound: bool = False
    other_day: bool = False
    probability: float | None = None


@dataclass(frozen=True)
class SightingRow:
    """A sighting with everything that an export needs.

    Args:
        sighting: id of the tracklet.
        camera: name of the camera; None if unknown.
        first: time of the first detection in seconds; None if unknown.
        last: time of the last one.
        source: path of the file.
        span: seconds of the first and the last detection within the file; None for an image.
        best: the detection to show.
        detections: number of detections.
        judgment: what a search said of it.
    """

    sighting: int
    camera: str | None
    first: float | None
    last: float | None
    source: str
    span: tuple[float, float] | None
    best: StoredDetection
    detections: int
    judgment: Judgment = Judgment()

    @property
    def best_seconds(self) -> float | None:
        """Seconds of the best detection within the file; None for an image."""
        if self.span is None or self.first is None or self.best.time is None:
            return None
        return self.span[0] + self.best.time - self.first


def list_rows(
    store: GalleryStore,
    sightings: Sequence[int],
    judgments: Mapping[int, Judgment] | None = None,
) -> list[SightingRow]:
    """Return the rows of sightings, in their order.

    Args:
        store: gallery.
        sightings: ids of tracklets.
        judgments: what a search said of some of them, by id.

    Raises:
        InputError: there is no such sighting.
    """
    with store.snapshot():
        tracklets = store.get_tracklets(sightings, embeddings=False)
        best = store.get([one.best for one in tracklets])
        sources = {source.path: source for source in store.sources()}
    known = judgments or {}
    return [
        SightingRow(
            *(one.tracklet_id, one.camera, one.first, one.last, one.source),
            span=_find_span(sources[one.source], one.first, one.last, one.first_frame),
            best=detection,
            detections=one.detections,
            judgment=known.get(one.tracklet_id, Judgment()),
        )
        for one, detection in zip(tracklets, best, strict=True)
    ]


def expand_chains(store: GalleryStore, sightings: Sequence[int]) -> list[int]:
    """Return sightings with those that continue them in other clips of their cameras.

    Args:
        store: gallery.
        sightings: ids of tracklets.

    Returns:
        Ids, each once: those of a chain stand together, in the order of its first one.

    Raises:
        InputError: there is no such sighting.
    """
    given = store.get_tracklets(list(dict.fromkeys(sightings)), embeddings=False)
    parts: dict[int, list[int]] = {one.chain: [] for one in given}
    for one in store.chain_tracklets(list(parts)):
        parts[one.chain].append(one.tracklet_id)
    return [one for chain in parts.values() for one in chain]


def write_csv(rows: Sequence[SightingRow], zone: tzinfo = timezone.utc) -> bytes:
    """Return a table that spreadsheets read: UTF-8 with a mark, ISO 8601, no formulas.

    Args:
        rows: sightings.
        zone: time zone of the times.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        judgment, seconds = row.judgment, row.best_seconds
        writer.writerow(
            [
                row.sighting,
                guard_formula(row.camera or ""),
                format_iso(row.first, zone),
                format_iso(row.last, zone),
                guard_formula(row.source),
                "" if seconds is None else f"{seconds:.3f}",
                *(f"{value:.1f}" for value in row.best.box),
                _format_number(judgment.similarity),
                _format_number(judgment.expected_strangers),
                guard_formula(judgment.verdict or ""),
                _format_number(judgment.probability),
                guard_formula(judgment.said or ""),
                row.best.origin,
            ]
        )
    return text.getvalue().encode("utf-8-sig", errors="replace")


def format_iso(seconds: float | None, zone: tzinfo = timezone.utc) -> str:
    """Return a time as 2026-05-01T12:00:30.250+02:00, or h:mm:ss.s within a video."""
    if seconds is None or seconds < CALENDAR_FROM:
        return format_time(seconds)
    try:
        return datetime.fromtimestamp(seconds, zone).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):  # beyond the calendar
        return f"{seconds:g}"


def guard_formula(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: a quote precedes its signs."""
    return f"'{text}" if _FORMULA.match(text) else text


def name_row(row: SightingRow, number: int) -> str:
    """Return a name for the files of a sighting that every system accepts."""
    parts = [f"{number:04}", row.camera or os.path.splitext(os.path.basename(row.source))[0]]
    name = "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", part)[:40].strip("-.") for part in parts)
    return f"{name}_{row.sighting}"


def _find_span(
    source: Source, first: float | None, last: float | None, frame: int | None
) -> tuple[float, float] | None:
    if frame is None or first is None or last is None:
        return None
    return seconds_in_file(source, first), seconds_in_file(source, last)


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
