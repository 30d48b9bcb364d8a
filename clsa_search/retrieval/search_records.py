"""The results.json of a search, read again for an export."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore
from clsa_search.json_files import read_json
from clsa_search.retrieval.record_checks import check_record, check_same_gallery
from clsa_search.retrieval.search_scope import parse_coverage
from clsa_search.retrieval.sighting_rows import Judgment
from clsa_search.sightings.coverage import CameraCoverage


@dataclass(frozen=True)
class SearchRecord:
    """A search that was written to results.json.

    Args:
        judgments: what it said of each sighting, best first, by id of the tracklet.
        query: title and images of the query.
        filters: its filters, if written.
        searched: number of sightings searched, if written.
        calibration: the calibration, if written.
        coverage: footage that was looked at, if written.
    """

    judgments: dict[int, Judgment]
    query: Mapping[str, Any]
    filters: Mapping[str, Any]
    searched: int | None
    calibration: Mapping[str, Any] | None
    coverage: Sequence[CameraCoverage] | None


def read_search_record(store: GalleryStore, path: str | os.PathLike) -> SearchRecord:
    """Read the results.json of a search with one query.

    Raises:
        InputError: the file has another form, or a match is not in the gallery.
    """
    values, name = read_json(path), os.fspath(path)
    try:
        (query,) = values["queries"]
        check_record(query, name)
        matches = list(query["matches"])
        ids = [int(match["detection"]) for match in matches]
        judged = [
            Judgment(
                float(match["similarity"]),
                match.get("expected_strangers"),
                match.get("verdict"),
                match.get("said"),
                is_bound=bool(match.get("is_bound")),
                other_day=bool(match.get("other_day")),
            )
            for match in matches
        ]
        scope = dict(values.get("scope") or {})
        json.dumps(scope, allow_nan=False)
        coverage = parse_coverage(scope["coverage"]) if "coverage" in scope else None
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{os.fspath(path)}: is no results.json of one query: {error!r}; expected the file "
            "that `clsa-search query` writes"
        ) from error
    check_same_gallery(store, matches, name)
    judgments: dict[int, Judgment] = {}
    for sighting, judgment in zip(store.find_tracklets(ids), judged, strict=True):
        judgments.setdefault(sighting, judgment)  # the best match of a sighting comes first
    return SearchRecord(
        judgments,
        {"title": query.get("title"), "images": query.get("query_images")},
        scope.get("filters") or {},
        query.get("searched"),
        scope.get("calibration"),
        coverage,
    )
