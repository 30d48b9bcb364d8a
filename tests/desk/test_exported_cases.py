"""A case of the API and one of the command say the same of one search, in words."""

import io
import json
import re
import zipfile

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from clsa_search.commands.search_gallery import main
from clsa_search.gallery import Filter
from clsa_search.retrieval.report import write_results
from clsa_search.retrieval.search_answers import name_source
from clsa_search.retrieval.search_scope import read_scope
from tests.support.desk_cases import RED, add_query, make_client, make_gallery

START = 1_777_000_000.0  # 2026-04-24T03:06:40Z
FIELDS = {"cameras": ["street"], "since": START, "until": START + 60, "min_score": 0.5}
TEXTS = {
    "since": "2026-04-24T05:06:40.000+02:00",
    "until": "2026-04-24T05:07:40.000+02:00",
    "cameras": ["street"],
    "min_score": 0.5,
    "max_strangers": None,
}


def read_case(content):
    """Return the record and the lines on the method in the report."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        case, page = json.loads(archive.read("case.json")), archive.read("report.html").decode()
    return case, dict(re.findall(r"<li>(Query|Filters|Calibration): (.*)</li>", page))


def test_the_case_of_the_desk_reads_as_that_of_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    street = str(tmp_path / "media" / "street.avi")
    with make_gallery(tmp_path, start_time=START) as gallery, make_client(gallery) as client:
        query = add_query(client, RED)
        fields = {**FIELDS, "sources": [name_source(street)]}
        body = {"of": [{"query": query["id"], "index": 0}], **fields}
        answer = client.post("/api/v1/exports", json={"kind": "case", "search": body})
        assert answer.status_code == 200, answer.text
        desk, desk_words = read_case(answer.content)

        where = Filter(**{**FIELDS, "sources": [street]})
        result = gallery.search_by_id(1, 10, where, "tracklet")
        scope = read_scope(gallery.store, where)
        write_results([result], tmp_path, address=gallery.store.address, scope=scope)
    output = tmp_path / "case.zip"
    words = ["export", str(tmp_path / "gallery.db"), str(output), "--timezone", "Europe/Berlin"]
    main([*words, "--results", str(tmp_path / "results.json")])
    command, command_words = read_case(output.read_bytes())

    assert desk["filters"] == command["filters"] == {**TEXTS, "sources": [street]}
    assert desk_words["Filters"] == command_words["Filters"]
    assert f"cameras: street; sources: {street}; since: {TEXTS['since']}" in desk_words["Filters"]
    assert desk_words["Calibration"] == command_words["Calibration"]
    assert desk["query"].keys() == command["query"].keys() == {"title", "images"}
    for case in (desk, command):
        (image,) = case["query"]["images"]
        assert image.keys() == {"caption", "box"} and len(image["box"]) == 4
    assert desk_words["Query"].startswith("image; image, box ")
    assert command_words["Query"].startswith("detection 1; door.png, box ")
    assert [one["sighting"] for one in desk["sightings"]] == [
        one["sighting"] for one in command["sightings"]
    ]


def test_views_of_the_gallery_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    with make_gallery(tmp_path, start_time=START) as gallery, make_client(gallery) as client:
        person = {"name": "Ann", "of": [{"detection": 1}]}
        number = client.post("/api/v1/people", json=person).json()["id"]
        last = gallery.store.tracklets()[-1].tracklet_id
        views = [{"person": number}, {"detection": 1}, {"tracklet": last}]
        request = {"kind": "case", "search": {"of": views, "limit": 2}}
        case, words = read_case(client.post("/api/v1/exports", json=request).content)
    assert [one["caption"] for one in case["query"]["images"]][:2] == [
        "Ann of the watch list",
        "door.png",
    ]
    assert case["query"]["images"][2]["caption"].startswith("street.avi · 2026-04-24 ")
    assert words["Query"].startswith("Ann of the watch list + door.png + street.avi")
    assert words["Filters"] == "none"
