"""Results of a search, read again to export them."""

import json
import math
import re

import pytest

from clsa_search.errors import InputError
from clsa_search.retrieval.search_records import read_search_record
from clsa_search.retrieval.sighting_rows import (
    Judgment,
)
from tests.support.sighting_cases import find_sighting


def describe_match(store, number, similarity, **fields):
    """Return a match as results.json has it."""
    (found,) = store.get([number])
    place = {"detection": number, "frame": found.frame, "box": list(map(float, found.box))}
    return {**place, "similarity": similarity, **fields}


def test_results_of_a_search_are_read_again(store, tmp_path):
    best, other = find_sighting(store, 3, "a.avi"), find_sighting(store, 2)
    judged = {"expected_strangers": 0.1, "verdict": "possible"}
    matches = [
        describe_match(store, best.best, 0.9, **judged),
        describe_match(store, other.best, 0.8),
        describe_match(store, best.tracklet_id, 0.7),
    ]
    path = tmp_path / "results.json"
    query = {"title": "q", "query_images": [], "matches": matches, "searched": 5}
    path.write_text(json.dumps({"queries": [query]}))
    record = read_search_record(store, path)
    assert record.judgments == {
        best.tracklet_id: Judgment(0.9, 0.1, "possible"),
        other.tracklet_id: Judgment(0.8),
    }
    assert (record.searched, record.query) == (5, {"title": "q", "images": []})
    for values in (
        {},
        {"queries": []},
        {"queries": [query, query]},
    ):
        path.write_text(json.dumps(values))
        with pytest.raises(InputError, match=r"results\.json: is no results\.json of one query"):
            read_search_record(store, path)


@pytest.mark.parametrize(
    ("place", "field", "value"),
    [
        *(("match", "detection", value) for value in (1e999, 10**30, -1, 1.5, "1", None, True)),
        *(("match", "similarity", value) for value in ("x", None, math.nan, [1])),
        *(("match", "expected_strangers", value) for value in ("x", [1], -math.inf)),
        *(("match", "verdict", value) for value in (5, ["x"])),
        *(("match", "said", value) for value in (["same"], "maybe", 1)),
        *(("match", "probability", value) for value in ("x", math.nan)),
        *(("match", "z", value) for value in ("x", [1])),
        *(("scope", "filters", value) for value in ("x", [1], 5)),
        *(("query", "searched", value) for value in ("many", -1, 1.5, math.nan)),
        *(("scope", "calibration", value) for value in (5, "x")),
        *(("query", "title", value) for value in ({"a": 1}, 5)),
        *(("query", "matches", value) for value in (None, 5, {"a": 1})),
        ("query", "query_images", 5),
    ],
)
def test_a_wrong_field_of_results_is_named(store, tmp_path, place, field, value):
    query = {"title": "q", "matches": [describe_match(store, 1, 0.9)]}
    values = {"queries": [query], "scope": {}}
    places = {"match": query["matches"][0], "query": query, "scope": values["scope"]}
    places[place][field] = value
    path = tmp_path / "results.json"
    path.write_text(json.dumps(values))
    names = {"match": "match 1: ", "query": "", "scope": "scope: "}
    named = f"results.json: {names[place]}"
    with pytest.raises(InputError, match=rf"{re.escape(named + field)}: .*; expected "):
        read_search_record(store, path)


def test_numbers_within_other_fields_of_results_are_finite(store, tmp_path):
    path = tmp_path / "results.json"
    scope = {"filters": {"since": math.nan}}
    path.write_text(json.dumps({"queries": [{"matches": []}], "scope": scope}))
    with pytest.raises(InputError, match=r"results\.json: .*expected finite numbers"):
        read_search_record(store, path)
    path.write_text(json.dumps({"queries": [{"matches": [1]}]}))
    with pytest.raises(InputError, match=r"results\.json: match 1: 1; expected an object"):
        read_search_record(store, path)


def test_results_of_another_gallery_are_refused(store, tmp_path):
    path = tmp_path / "results.json"
    match = describe_match(store, 1, 0.9)
    for change in ({"box": [0.0, 0.0, 5.0, 5.0]}, {"frame": 99}, {"box": None}):
        path.write_text(json.dumps({"queries": [{"matches": [{**match, **change}]}]}))
        with pytest.raises(InputError, match="match 1: detection 1 is another one in this gallery"):
            read_search_record(store, path)
    path.write_text(json.dumps({"queries": [{"matches": [{**match, "detection": 99}]}]}))
    with pytest.raises(InputError, match=r"results\.json: .*no detection 99.*; expected results"):
        read_search_record(store, path)
