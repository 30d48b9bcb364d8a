"""Boxes that clients draw and store: POST /api/v1/detections."""

import csv
import io
import json
import os

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from clsa_search.desk.tokens import Keyring
from clsa_search.gallery import open_store
from clsa_search.retrieval.gallery_search import GallerySearch
from tests.support.desk_cases import (
    GREEN,
    RED,
    encode,
    list_sources,
    make_client,
    make_gallery,
    post_image,
    search,
)
from tests.support.footage import BlockPredictor, draw_blocks

START = 1_777_000_000.0
BOX = [70, 5, 90, 60]  # nobody is seen there


@pytest.fixture
def gallery(tmp_path):
    with make_gallery(tmp_path, START) as gallery:
        yield gallery


@pytest.fixture
def sources(client):
    """Return the ids of the sources by their names."""
    return list_sources(client)


def draw(client, source, box=BOX, **fields):
    return client.post("/api/v1/detections", json={"source": source, "box": box, **fields})


def fault(answer, status=422):
    """Return field and message of an error."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    return error["field"], error["message"]


def test_a_drawn_box_is_stored_searched_and_exported(client, gallery, sources):
    before = gallery.predictor.num_images
    answer = draw(client, sources["street.avi"], seconds=1.2)
    assert answer.status_code == 201, answer.text
    one = answer.json()
    assert (one["origin"], one["score"], one["box"]) == ("hand", 1, BOX)
    assert (one["frame"], one["seconds"], one["time"]) == (12, 1.2, START + 1.2)
    assert (one["camera"], one["name"], one["source"]) == (
        "street",
        "street.avi",
        sources["street.avi"],
    )
    assert one["tracklet"] == one["detection"] == 10
    assert gallery.predictor.num_images == before, "the detector is not needed"
    about = client.get("/api/v1/gallery").json()
    assert (about["detections"], about["tracklets"]) == (10, 6)
    (box,) = client.get("/api/v1/detections/10").json()["boxes"]
    assert (box["detection"], box["origin"], box["box"]) == (10, "hand", BOX)
    assert client.get("/api/v1/detections/10/crop.jpg").status_code == 200
    found = search(client, [{"detection": 10}], per="tracklet")["matches"]
    assert {match["detection"] for match in found if match["origin"] == "hand"} == {10}
    assert {match["origin"] for match in found if match["detection"] != 10} == {"model"}
    table = client.post("/api/v1/exports", json={"tracklets": [10, 1], "kind": "csv"}).text
    rows = list(csv.DictReader(io.StringIO(table.lstrip("\ufeff"))))
    assert [(row["sighting"], row["origin"]) for row in rows] == [("10", "hand"), ("1", "model")]
    gone = client.post(
        "/api/v1/deletions", json={"tracklets": [10], "dry_run": False, "confirm": 1}
    )
    assert gone.status_code == 200 and gallery.store.count() == 9


def test_a_frame_is_named_in_three_ways(client, sources):
    street = sources["street.avi"]
    for x, (name, value) in enumerate({"frame": 4, "seconds": 0.4, "time": START + 0.4}.items()):
        one = draw(client, street, [30 * x, 5, 30 * x + 20, 60], **{name: value}).json()
        assert (one["frame"], one["seconds"]) == (4, 0.4)
    image = draw(client, sources["yard.png"], [70, 5, 90, 60]).json()
    assert (image["frame"], image["seconds"], image["camera"]) == (None, 0, "yard")


def test_a_missed_frame_joins_the_sighting_around_it(client, sources):
    """Red stands in the street from the second 2 on, and is sampled at 2.0 and 2.5."""
    before = client.get("/api/v1/tracklets").json()["tracklets"]
    one = draw(client, sources["street.avi"], [20, 20, 34, 60], seconds=2.3).json()
    after = client.get("/api/v1/tracklets").json()["tracklets"]
    assert [x["tracklet"] for x in after] == [x["tracklet"] for x in before]
    assert one["tracklet"] != one["detection"]
    (red,) = [x for x in after if x["tracklet"] == one["tracklet"]]
    assert red["detections"] == 3
    boxes = client.get(f"/api/v1/tracklets/{one['tracklet']}").json()["boxes"]
    assert [(x["seconds"], x["origin"]) for x in boxes] == [
        (2.0, "model"),
        (2.3, "hand"),
        (2.5, "model"),
    ]


def test_wrong_requests_name_field_and_expectation(client, gallery, sources):
    street, door = sources["street.avi"], sources["door.png"]
    for fields, field, words in (
        ({"box": [100, 5, 120, 60], "seconds": 1}, "box", "inside the image of 96 x 72"),
        ({"box": [40, 5, 40, 60], "seconds": 1}, "box", "expected x1 < x2"),
        ({"box": [40, 5, 60], "seconds": 1}, "box[3]", "is missing"),
        ({"box": [40, 5, "x", 60], "seconds": 1}, "box[2]", "number"),
        ({"seconds": 3.0}, "seconds", "expected a moment of the video of 3.0 s"),
        ({"seconds": -1}, "seconds", "expected"),
        ({"time": START - 1}, "time", "expected a moment of the video"),
        ({"time": 5}, "time", "expected a moment of the video"),
        ({"frame": 30}, "frame", "frame: 30; expected a moment of the video of 3.0 s"),
        ({"frame": 1.5}, "frame", "integer"),
        ({}, "seconds", "nothing given; expected one of seconds, time, frame"),
        ({"frame": 3, "time": START}, "seconds", "time and frame given; expected one of"),
        ({"seconds": 1, "origin": "model"}, "origin", "no such field"),
        ({"source": door, "seconds": 1}, "seconds", "the source is an image; expected none"),
        ({"source": door, "box": [11, 20, 24, 60]}, "box", "shows detection 1 of this frame (IoU"),
        ({"source": "../../etc/passwd"}, "source", "expected a text of the form"),
    ):
        named, message = fault(draw(client, **{"source": street, **fields}))
        assert named == field and words in message, message
    assert fault(draw(client, "0" * 16, seconds=1), 404)[0] == "source"
    for text in (json.dumps({"source": street, "box": [float("nan"), 5, 60, 60]}), "[", ""):
        answer = client.post(
            "/api/v1/detections", content=text, headers={"content-type": "application/json"}
        )
        assert answer.status_code in (411, 422)
    assert gallery.store.count() == 9


def test_footage_that_is_gone_or_changed_takes_no_box(client, gallery, sources):
    paths = {os.path.basename(path): path for path in gallery.store.paths()}
    os.utime(paths["door.png"], (1, 1))
    os.remove(paths["street.avi"])
    assert "changed" in fault(draw(client, sources["door.png"]))[1]
    assert "street.avi" in fault(draw(client, sources["street.avi"], seconds=1))[1]
    assert gallery.store.count() == 9


def test_a_gallery_without_permission_to_write_takes_no_box(tmp_path, monkeypatch):
    make_gallery(tmp_path).close()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    predictor = BlockPredictor()
    store = open_store(tmp_path / "gallery.db", weights=predictor.weights_sha256)
    with GallerySearch(store, predictor) as gallery, make_client(gallery) as client:
        listed = client.get("/api/v1/sources").json()["sources"]
        door = next(one["id"] for one in listed if one["name"] == "door.png")
        assert "readonly" in fault(draw(client, door))[1]
        assert store.count() == 9


def test_only_those_with_the_token_and_of_this_page_draw(gallery):
    with make_client(gallery, keyring=Keyring("t" * 40)) as client:
        assert draw(client, "0" * 16).status_code == 401
    with make_client(gallery) as client:
        listed = client.get("/api/v1/sources").json()["sources"]
        body = {"source": listed[0]["id"], "box": BOX}
        head = {"origin": "http://elsewhere.example"}
        assert client.post("/api/v1/detections", json=body, headers=head).status_code == 403
        form = {"content-type": "application/x-www-form-urlencoded"}
        answer = client.post("/api/v1/detections", content="source=1", headers=form)
        assert answer.status_code == 415
        large = {"source": listed[0]["id"], "box": BOX, "note": "x" * (1 << 20)}
        assert client.post("/api/v1/detections", json=large).status_code == 413
    assert gallery.store.count() == 9


def test_drawing_waits_in_the_queue_of_the_model(client, gallery, sources, monkeypatch):
    """While the model is at work for as many as may wait, the next box is refused."""
    gate = client.app.app.state.desk.queries._model
    monkeypatch.setattr(gate, "num_threads", 9)
    assert fault(draw(client, sources["door.png"]), 429)[0] == "model"
    assert post_image(client, encode(draw_blocks({RED: 10, GREEN: 60}))).status_code == 429
    assert gallery.store.count() == 9
