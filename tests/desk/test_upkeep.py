"""Sightings over the API: lists, tracks, exports, deletions, the watch list, the timeline."""

import csv
import io
import os
import time
import zipfile

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from PIL import Image

from clsa_search.retrieval import Indexer, IndexOptions
from tests.support.desk_cases import BLUE, RED, add_query, make_gallery


@pytest.fixture
def gallery(tmp_path):
    with make_gallery(tmp_path, 1_777_000_000.0) as gallery:
        yield gallery


def call(client, method, path, status=200, **options):
    answer = client.request(method, f"/api/v1/{path}", **options)
    assert answer.status_code == status, answer.text
    return answer


def get(client, path):
    return call(client, "GET", path).json()


def search(client, person, **fields):
    of = [{"query": add_query(client, person)["id"], "index": 0}]
    return call(client, "POST", "search", json={"of": of, **fields}).json()["matches"]


def test_a_search_ranks_sightings(client):
    matches = search(client, BLUE)
    assert len(matches) == 5 and [one["rank"] for one in matches] == [1, 2, 3, 4, 5]
    best = matches[0]
    assert (best["camera"], best["detections"]) == ("street", 4)
    assert best["last"] - best["first"] == pytest.approx(1.5)


def test_sightings_are_listed_in_parts_by_time(client):
    listed = get(client, "tracklets")
    assert listed["total"] == 5
    parts = [get(client, f"tracklets?offset={i}&limit=1")["tracklets"][0] for i in range(5)]
    assert parts == listed["tracklets"]
    yard = get(client, "tracklets?cameras=yard&cameras=door")
    assert sorted(one["camera"] for one in yard["tracklets"]) == ["door", "door", "yard"]
    assert get(client, "tracklets?since=1777000000&until=1777000001.2")["total"] == 1
    call(client, "GET", "tracklets?cameras=moon", 422)
    call(client, "GET", "tracklets?since=nan", 422)
    late = call(client, "GET", "tracklets?since=1777000002&until=1777000001", 422).json()
    assert "is later than until" in late["error"]["message"]
    early = call(client, "GET", "tracklets?since=5", 422).json()
    assert "is a time within a video" in early["error"]["message"]


def test_a_moment_far_beyond_a_video_is_refused_at_once(client):
    (street,) = get(client, "sources?text=street")["sources"]
    path = f"sources/{street['id']}/frame.jpg?seconds="
    assert call(client, "GET", f"{path}1").content[:2] == b"\xff\xd8"
    error = call(client, "GET", f"{path}1e8", 422).json()["error"]
    assert error["field"] == "seconds"
    assert "expected a moment of the video of 3.0 s" in error["message"]


def test_a_sighting_has_all_its_boxes_and_a_clip(client):
    best = search(client, BLUE)[0]
    track = get(client, f"tracklets/{best['tracklet']}")
    assert [box["seconds"] for box in track["boxes"]] == [1.0, 1.5, 2.0, 2.5]
    assert [box["box"][0] for box in track["boxes"]] == pytest.approx([20, 20, 60, 60], abs=2)
    for name, kind in (("crop.jpg", "image/jpeg"), ("clip.webp", "image/webp")):
        answer = call(client, "GET", f"tracklets/{best['tracklet']}/{name}")
        assert answer.headers["content-type"] == kind and answer.content
    for end, x in (("frame.jpg", None), ("frame.jpg?seconds=2.5", 67)):
        answer = call(client, "GET", f"tracklets/{best['tracklet']}/{end}")
        image = Image.open(io.BytesIO(answer.content))
        assert image.size == (96, 72), "the whole frame"
        if x is not None:
            assert image.getpixel((x, 40))[0] > 150 > image.getpixel((27, 40))[0], "it has moved"
    call(client, "GET", f"tracklets/{best['tracklet']}/frame.jpg?seconds=99", 422)
    call(client, "GET", "tracklets/999/frame.jpg", 404)
    call(client, "GET", "tracklets/999", 404)
    again = call(client, "POST", "search", json={"of": [{"tracklet": best["tracklet"]}]}).json()
    assert again["matches"][0]["tracklet"] == best["tracklet"]
    call(client, "POST", "search", 404, json={"of": [{"tracklet": 999}]})
    deleted = {"of": [{"tracklet": best["tracklet"]}], "others": [999], "same": [999]}
    assert call(client, "POST", "search", json=deleted).json()["matches"] == again["matches"]


@pytest.mark.parametrize("erase", [False, True])
def test_an_uploaded_image_is_searched_on_after_a_deletion(client, erase):
    of = [{"query": add_query(client, RED)["id"], "index": 0}]
    sources = {one["name"]: one["id"] for one in get(client, "sources")["sources"]}
    frames = {
        name: call(client, "POST", "queries", 201, json={"source": sources[name]}).json()["id"]
        for name in ("door.png", "yard.png")
    }
    yard = get(client, "tracklets?cameras=yard")["tracklets"][0]
    request = {"tracklets": [yard["tracklet"]], "dry_run": False, "confirm": 1, "erase": erase}
    call(client, "POST", "deletions", json=request)
    assert len(call(client, "POST", "search", json={"of": of}).json()["matches"]) == 4
    call(client, "GET", f"queries/{frames['yard.png']}/image.jpg", 404)
    call(client, "GET", f"queries/{frames['door.png']}/image.jpg", 404 if erase else 200)


def test_the_timeline_shows_what_was_not_looked_at(client):
    for _ in range(100):
        timeline = get(client, "timeline")
        if timeline["complete"]:
            break
        time.sleep(0.1)
    lanes = {lane["camera"]: lane for lane in timeline["lanes"]}
    assert set(lanes) == {"door", "street", "yard"}
    assert lanes["street"]["spans"] == [[1_777_000_000.0, 1_777_000_003.0]]
    assert lanes["door"]["spans"] == [] and lanes["door"]["undated"] == 1


def read_table(content):
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def test_exports_tell_what_the_search_said(client):
    of = [{"query": add_query(client, RED)["id"], "index": 0}]
    matches = call(client, "POST", "search", json={"of": of}).json()["matches"]
    ids = [one["tracklet"] for one in matches[:3]]
    request = {"tracklets": ids, "search": {"of": of}, "said": {str(ids[0]): "same"}}
    answer = call(client, "POST", "exports", json=request)
    assert answer.headers["content-disposition"] == 'attachment; filename="sightings.csv"'
    rows = read_table(answer.content)
    assert [int(row["sighting"]) for row in rows] == ids
    assert float(rows[0]["similarity"]) == pytest.approx(1, abs=1e-3)
    assert [row["said"] for row in rows] == ["same", "", ""]
    for kind, names in (("crops", "crops/"), ("clips", "clips/"), ("case", "report.html")):
        answer = call(client, "POST", "exports", json={**request, "kind": kind})
        listed = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
        assert "sightings.csv" in listed and any(one.startswith(names) for one in listed), kind
    alone = call(client, "POST", "exports", json={"search": {"of": of, "limit": 2}})
    assert [int(row["sighting"]) for row in read_table(alone.content)] == ids[:2]
    call(client, "POST", "exports", 422, json={"kind": "csv"})
    call(client, "POST", "exports", 422, json={"tracklets": [999]})
    call(client, "POST", "exports", 422, json={"tracklets": [], "kind": "csv"})


def test_a_deletion_is_counted_before_it_is_done(client, gallery):
    yard = next(one for one in search(client, RED) if one["camera"] == "yard")
    crop = f"detections/{yard['detection']}/crop.jpg"
    call(client, "GET", crop)
    request = {"tracklets": [yard["tracklet"]]}
    plan = call(client, "POST", "deletions", json=request).json()
    assert (plan["dry_run"], plan["sightings"], plan["detections"]) == (True, 1, 1)
    assert "1 sighting, 1 detection in 1 file would be deleted" in plan["message"]
    real = {**request, "dry_run": False}
    for wrong in (real, {**real, "confirm": 2}):
        assert "expected this number" in call(client, "POST", "deletions", 409, json=wrong).text
    assert gallery.store.count() == 9
    call(client, "POST", "deletions", json={**real, "confirm": 1})
    assert gallery.store.count() == 8
    call(client, "GET", crop, 404)
    everything = {"cameras": ["street"]}
    plan = call(client, "POST", "deletions", json=everything).json()
    assert plan["needs_force"]
    real = {**everything, "dry_run": False, "confirm": plan["detections"]}
    assert "more than half" in call(client, "POST", "deletions", 422, json=real).text
    assert gallery.store.count() == 8
    call(client, "POST", "deletions", json={**real, "force": True})
    assert gallery.store.count() == 2
    call(client, "POST", "deletions", 422, json={})


def test_a_watched_person_is_searched_gets_more_images_and_is_erased(client, gallery, tmp_path):
    red = {"query": add_query(client, RED)["id"], "index": 0}
    person = call(client, "POST", "people", 201, json={"name": "Ann", "of": [red]}).json()
    of = [{"person": person["id"]}]
    found = call(client, "POST", "search", json={"of": of}).json()["matches"]
    by_image = call(client, "POST", "search", json={"of": [red]}).json()["matches"]
    assert [one["tracklet"] for one in found] == [one["tracklet"] for one in by_image]
    call(client, "POST", "search", 404, json={"of": [{"person": 999}]})
    yard = next(one for one in found if one["camera"] == "yard")
    more = {"of": [{"tracklet": yard["tracklet"]}]}
    place = f"people/{person['id']}/examples"
    assert call(client, "POST", place, 201, json=more).json()["examples"] == 2
    call(client, "POST", "people/999/examples", 404, json=more)
    case = {"search": {"of": of}, "kind": "case"}  # a person of the list has no image to show
    assert call(client, "POST", "exports", json=case).content

    seen = f"people/{person['id']}/sightings/{yard['tracklet']}"
    call(client, "PUT", seen, json={"said": "same"})
    request = {"person": person["id"]}
    plan = call(client, "POST", "deletions", json=request).json()
    assert (plan["sightings"], plan["detections"]) == (1, 1)
    assert get(client, "people") and gallery.store.count() == 9
    call(client, "POST", "deletions", json={**request, "dry_run": False, "confirm": 1})
    assert get(client, "people") == [] and gallery.store.count() == 8
    indexer = Indexer(gallery.predictor, gallery.store, IndexOptions(camera="yard"))
    path = tmp_path / "media" / "yard.png"
    os.utime(path, ns=(1, 1))
    indexer.plan([path])
    indexer.run()
    assert gallery.store.count() == 8, "the person does not come back"
    call(client, "POST", "deletions", 404, json=request)


def test_people_are_watched_judged_and_forgotten(client):
    query = add_query(client, RED)["id"]
    request = {"name": "Ann", "of": [{"query": query, "index": 0}], "note": "red"}
    person = call(client, "POST", "people", 201, json=request).json()
    assert (person["name"], person["examples"], person["sightings"]) == ("Ann", 1, [])
    assert [one["name"] for one in get(client, "people")] == ["Ann"]
    sighting = search(client, RED)[0]["tracklet"]
    place = f"people/{person['id']}/sightings/{sighting}"
    said = call(client, "PUT", place, json={"said": "same"}).json()
    assert said["sightings"] == [sighting]
    assert call(client, "PUT", place, json={"said": "other"}).json()["sightings"] == []
    call(client, "PUT", place, 422, json={"said": "perhaps"})
    call(client, "PUT", f"people/{person['id']}/sightings/999", 404, json={"said": "same"})
    call(client, "DELETE", f"people/{person['id']}", 204)
    assert get(client, "people") == []
    call(client, "DELETE", f"people/{person['id']}", 404)
