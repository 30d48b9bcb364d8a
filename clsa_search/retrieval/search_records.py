"""The results.json of a search, read again for an export."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore
from clsa_search.json_files import read_json
from clsa_search.retrieval.record_checks import check_record, check_same_gallery, check_scope
from clsa_search.retrieval.search_scope import parse_coverage
from clsa_search.retrieval.sighting_rows import Judgment
from clsa_search.retrieval.verdict_store import list_said
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
        coverage: footage of the search, if written.
    """

    judgments: dict[int, Judgment]
    query: Mapping[str, Any]
    filters: Mapping[str, Any]
    searched: int | None
    calibration: Mapping[str, Any] | None
    coverage: Sequence[CameraCoverage] | None


def read_search_record(store: GalleryStore, path: str | os.PathLike) -> SearchRecord:
    """Read the results.json of a search with one query, and what the user said of its matches.

    Raises:
        InputError: the file has another form, or a match is not in the gallery.
    """
    values, name = read_json(path), os.fspath(path)
    try:
        (query,) = values["queries"]
        check_record(query, name)
        scope = dict(values.get("scope") or {})
        check_scope(scope, name)
        coverage = parse_coverage(scope["coverage"]) if "coverage" in scope else None
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{name}: is no results.json of one query: {error!r}; expected the file that "
            "`clsa-search query` writes"
        ) from error
    matches = query["matches"]
    check_same_gallery(store, matches, name)
    said = list_said(store, str(query.get("id")))
    judgments: dict[int, Judgment] = {}
    sightings = store.find_tracklets([match["detection"] for match in matches])
    for sighting, match in zip(sightings, matches, strict=True):
        judgment = _read_judgment(match)
        known = replace(judgment, said=said.get(sighting, judgment.said))
        judgments.setdefault(sighting, known)  # the best match of a sighting comes first
    return SearchRecord(
        judgments,
        {"title": query.get("title"), "images": query.get("query_images")},
        scope.get("filters") or {},
        query.get("searched"),
        scope.get("calibration"),
        coverage,
    )


def _read_judgment(match: Mapping[str, Any]) -> Judgment:
    """Return what a checked match says."""
    return Judgment(
        float(match["similarity"]),
        match.get("expected_strangers"),
        match.get("verdict"),
        match.get("said"),
        is_bound=bool(match.get("is_bound")),
        other_day=bool(match.get("other_day")),
        probability=match.get("probability"),
    )


def read_match_scores(
    store: GalleryStore, path: str | os.PathLike, ids: Sequence[int], number: int | None = None
) -> tuple[str, dict[int, float | None]]:
    """Read what a results.json says of some matches, for verdicts on them.

    Args:
        store: gallery that was searched.
        path: results.json.
        ids: ids of matches, as the table shows them, or of their sightings.
        number: number of the query in the file, from 1; None: it has one.

    Returns:
        The name of the query; standardized similarity of each match, None if the gallery was not
        calibrated.

    Raises:
        InputError: the file has another form, or a match is not of it or not of the gallery.
    """
    name = os.fspath(path)
    query = _choose_query(name, read_json(path), number)
    check_record(query, name)
    check_same_gallery(store, query["matches"], name)
    known: dict[int, float | None] = {}
    for match in query["matches"]:
        if match.get("tracklet") is None or "z" not in match:
            raise InputError(
                f"{name}: has no sightings to judge; expected the results.json of a search for "
                "sightings with this version"
            )
        known[match["detection"]] = known[match["tracklet"]] = match["z"]
    for one in ids:
        if one not in known:
            raise InputError(f"{name}: {one} is no match of this query; expected an id of it")
    return _get_id(query, name), {one: known[one] for one in ids}


def read_query_id(path: str | os.PathLike) -> str:
    """Read the name of the only query of a results.json, see `say_verdicts`.

    Raises:
        InputError: the file has another form, or several queries.
    """
    name = os.fspath(path)
    query = _choose_query(name, read_json(path), None)
    check_record(query, name)
    return _get_id(query, name)


def _get_id(query: Mapping[str, Any], name: str) -> str:
    if not query.get("id"):
        raise InputError(f"{name}: id: is missing; expected a results.json of this version")
    return query["id"]


def _choose_query(name: str, values: Any, number: int | None) -> Any:
    """Return a query of a results.json."""
    try:
        queries = list(values["queries"])
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{name}: is no results.json: {error!r}; expected the file that `clsa-search query` "
            "writes"
        ) from error
    if number is None and len(queries) > 1:
        raise InputError(
            f"{name}: has {len(queries):,} queries; expected --number with one of them"
        )
    if not 1 <= (number or 1) <= len(queries):
        raise InputError(f"{name}: --number: {number or 1}; expected 1 to {len(queries):,}")
    return queries[(number or 1) - 1]
