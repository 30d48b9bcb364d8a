"""Texts of the page as HTML, with escaped names of files and cameras."""

import html
import math
import os

from clsa_search.gallery import Filter, GalleryStore, StoredDetection
from clsa_search.retrieval.results import QueryResult, count_matches
from clsa_search.retrieval.time_format import CALENDAR_FROM, format_time
from clsa_search.wording import count_noun


def describe_gallery(store: GalleryStore) -> str:
    """Return the headline: title, counts, name of the gallery."""
    sources = sum(source.detections > 0 for source in store.sources())
    counts = f"{count_noun(store.count(), 'detection')} in {count_noun(sources, 'file')}"
    name = html.escape(os.path.basename(store.address))
    return f"<h1>Find a person</h1><p>{counts} · {name}</p>"


def describe_times(store: GalleryStore) -> str:
    """Return the formats of the stored times, empty if no detection has a time."""
    formats = {
        "h:mm:ss": Filter(until=math.nextafter(CALENDAR_FROM, 0)),
        "2026-05-01T12:00": Filter(since=CALENDAR_FROM),
    }
    return " or ".join(text for text, times in formats.items() if store.count(times))


def describe_result(result: QueryResult) -> str:
    """Return the title of a result and its number of matches."""
    title, count = html.escape(result.title), count_matches(len(result.matches))
    return f"<strong>{title}</strong><p class='quiet'>{count}, most similar first</p>"


def name_match(rank: int, detection: StoredDetection) -> str:
    """Return rank and file name of a match."""
    return f"<strong>match {rank}</strong> · {html.escape(os.path.basename(detection.source))}"


def describe_match(detection: StoredDetection, similarity: float) -> str:
    """Return a table with the known facts about a match."""
    box = ", ".join(f"{value:.0f}" for value in detection.box)
    rows = {
        "similarity": f"{similarity:.3f}",
        "file": detection.source,
        "frame": detection.frame,
        "time": format_time(detection.time),
        "camera": detection.camera,
        "box": box,
        "detection score": f"{detection.score:.2f}",
        "id": detection.detection_id,
    }
    cells = "".join(
        f"<tr><td>{name}</td><td>{html.escape(str(value))}</td></tr>"
        for name, value in rows.items()
        if value not in (None, "")
    )
    return f"<table>{cells}</table>"
