"""The scope of a search, for its reports: filter, method, footage."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore
from clsa_search.retrieval.sighting_rows import format_iso
from clsa_search.retrieval.source_coverage import read_coverage
from clsa_search.retrieval.start_times import find_start_time
from clsa_search.retrieval.stored_calibration import find_calibration
from clsa_search.retrieval.time_rules import TimeRule
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


def read_scope(store: GalleryStore, where: Filter | None = None) -> SearchScope:
    """Read the scope of a search with a filter.

    Args:
        store: gallery.
        where: filter of the search.
    """
    where = where or Filter()
    coverage = read_coverage(store, where)
    return SearchScope(describe_filter(where), store.weights, describe_calibration(store), coverage)


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


def describe_filter(where: Filter) -> dict[str, Any]:
    """Return a filter as plain values, times in ISO 8601."""
    return {
        "cameras": None if where.cameras is None else list(where.cameras),
        "sources": None if where.sources is None else list(where.sources),
        "since": format_iso(where.since) or None,
        "until": format_iso(where.until) or None,
        "min_score": where.min_score,
    }


def describe_calibration(store: GalleryStore) -> dict[str, Any] | None:
    """Return the calibration of a gallery in short; None if it is not calibrated, or damaged."""
    known, _ = find_calibration(store)
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
