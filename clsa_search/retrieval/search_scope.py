"""The scope of a search, for its reports: filter, method, footage."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timezone, tzinfo
from typing import Any

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore
from clsa_search.retrieval.sighting_rows import format_iso
from clsa_search.retrieval.source_coverage import read_coverage
from clsa_search.retrieval.start_times import find_start_time
from clsa_search.retrieval.stored_calibration import find_calibration
from clsa_search.retrieval.time_format import parse_time
from clsa_search.retrieval.time_rules import TimeRule
from clsa_search.sightings.calibration import Calibration
from clsa_search.sightings.coverage import CameraCoverage


@dataclass(frozen=True)
class SearchScope:
    """Scope of a search.

    Args:
        filters: its filter as plain values.
        weights: SHA-256 of the weights.
        calibration: the calibration as plain values; None if the gallery is not calibrated.
        coverage: times with and without footage of each camera.
    """

    filters: Mapping[str, Any]
    weights: str
    calibration: Mapping[str, Any] | None
    coverage: Sequence[CameraCoverage]


def read_scope(
    store: GalleryStore, where: Filter | None = None, max_strangers: float | None = None
) -> SearchScope:
    """Read the scope of a search with a filter.

    Args:
        store: gallery.
        where: filter of the search.
        max_strangers: accepted number of expected strangers.
    """
    where = where or Filter()
    filters = describe_filter(where, max_strangers=max_strangers)
    coverage = read_coverage(store, where)
    known, _ = find_calibration(store)
    return SearchScope(filters, store.weights, describe_calibration(known), coverage)


def parse_coverage(values: Any) -> list[CameraCoverage]:
    """Return coverage from its plain values.

    Raises:
        ValueError, TypeError, KeyError: it has another form.
    """
    return [
        CameraCoverage(
            None if one["camera"] is None else str(one["camera"]),
            _parse_spans(one["spans"]),
            _parse_spans(one["gaps"]),
            int(one["undated"]),
        )
        for one in values
    ]


def _parse_spans(values: Any) -> tuple[tuple[float, float], ...]:
    return tuple((float(start), float(end)) for start, end in values)


def find_query_time(store: GalleryStore, path: str | os.PathLike) -> float | None:
    """Return when a query image was taken: as indexed, or by its EXIF data; None if unknown."""
    real = os.path.realpath(path)
    for source in store.sources():
        if source.path == real and source.start is not None:
            return source.start
    try:
        return find_start_time(real, [TimeRule("exif")]).seconds
    except InputError:
        return None


def describe_filter(
    where: Filter, zone: tzinfo = timezone.utc, max_strangers: float | None = None
) -> dict[str, Any]:
    """Return a filter as plain values, times in ISO 8601.

    Args:
        where: the filter.
        zone: time zone of the times.
        max_strangers: accepted number of expected strangers.
    """
    return {
        "cameras": None if where.cameras is None else list(where.cameras),
        "sources": None if where.sources is None else list(where.sources),
        "since": format_iso(where.since, zone) or None,
        "until": format_iso(where.until, zone) or None,
        "min_score": where.min_score,
        "max_strangers": max_strangers,
    }


def move_filters(filters: Mapping[str, Any], zone: tzinfo) -> dict[str, Any]:
    """Return described filters with their times in a time zone.

    Raises:
        InputError: a time has another form.
    """
    times = {name: filters[name] for name in ("since", "until") if filters.get(name) is not None}
    moved = {name: format_iso(parse_time(str(text)), zone) for name, text in times.items()}
    return {**filters, **moved}


def format_filters(filters: Mapping[str, Any]) -> str:
    """Return described filters in words, such as "cameras: north, gate; min score: 0.5"."""
    words = [
        f"{name.replace('_', ' ')}: {', '.join(map(str, value))}"
        if isinstance(value, list | tuple)
        else f"{name.replace('_', ' ')}: {value}"
        for name, value in filters.items()
        if value is not None
    ]
    return "; ".join(words) or "none"


def format_calibration(values: Mapping[str, Any] | None) -> str:
    """Return a described calibration in words."""
    if not values:
        return "none: similarities are ranks only"
    names = "pairs_of_strangers", "pairs_on_different_cameras", "sightings"
    pairs, others, sightings = (_format_count(values.get(name)) for name in names)
    return (
        f"{pairs} pairs of certain strangers, {others} of them on different cameras, among "
        f"{sightings} sightings; {values.get('fitted', 'time unknown')}"
    )


def _format_count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "unknown"


def describe_calibration(known: Calibration | None) -> dict[str, Any] | None:
    """Return a calibration in short; None without one, or without a tail."""
    if known is None or known.tail is None:
        return None
    return {
        "fitted": format_iso(known.fitted),
        "pairs_of_strangers": known.pairs,
        "pairs_on_different_cameras": known.concurrent,
        "sightings": known.tracklets,
        "share_of_uniforms": known.uniform,
        "cameras_apart": [list(group) for group in known.apart],
    }
