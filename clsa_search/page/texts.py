"""What the page says, as HTML; names of files and cameras are escaped."""

import html
import math
import os

from clsa_search.gallery import Filter, GalleryStore, StoredDetection
from clsa_search.retrieval.results import QueryResult, count_matches, quantity
from clsa_search.retrieval.times import CALENDAR_FROM, format_time


def describe_gallery(store: GalleryStore) -> str:
    sources = sum(source.detections > 0 for source in store.sources())
    name = html.escape(os.path.basename(store.address))
    counts = f"{quantity(store.count(), 'detection')} in {quantity(sources, 'file')}"
    return f"<h1>Find a person</h1><p>{counts} · {name}</p>"


def describe_times(store: GalleryStore) -> str:
    """How the times of the gallery's people are written."""
    kinds = {
        "h:mm:ss": Filter(until=math.nextafter(CALENDAR_FROM, 0)),
        "2026-05-01T12:00": Filter(since=CALENDAR_FROM),
    }
    return " or ".join(text for text, times in kinds.items() if store.count(times))


def describe_answer(answer: QueryResult) -> str:
    title, count = html.escape(answer.title), count_matches(len(answer.matches))
    return f"<strong>{title}</strong><p class='quiet'>{count}, the most similar first</p>"


def name_match(rank: int, entry: StoredDetection) -> str:
    return f"<strong>match {rank}</strong> · {html.escape(os.path.basename(entry.source))}"


def describe_match(entry: StoredDetection, similarity: float) -> str:
    box = ", ".join(f"{value:.0f}" for value in entry.box)
    rows = {
        "similarity": f"{similarity:.3f}",
        "file": entry.source,
        "frame": entry.frame,
        "time": format_time(entry.time),
        "camera": entry.camera,
        "box": f"{box} (detection score {entry.score:.2f})",
        "id": entry.detection_id,
    }
    cells = "".join(
        f"<tr><td>{name}</td><td>{html.escape(str(value))}</td></tr>"
        for name, value in rows.items()
        if value not in (None, "")
    )
    return f"<table>{cells}</table>"
