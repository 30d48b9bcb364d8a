"""The API over its application: queries, searches, footage, errors."""

import io
import os
from datetime import datetime

import pytest

from tests.support.desk_cases import fault, list_sources

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from PIL import Image

from tests.support.desk_cases import (
    BLUE,
    GREEN,
    RED,
    add_query,
    encode,
    make_client,
    make_gallery,
    search,
)
from tests.support.footage import draw_blocks

NOON = datetime(2026, 5, 1, 12).timestamp()


def get(client, path):
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_gallery_is_described(client):
    about = get(client, "gallery")
    assert about["detections"] == 9 and about["sources"] == 3 and about["name"] == "gallery.db"
    assert about["cameras"] == ["door", "street", "yard"]


def test_from_an_upload_to_the_next_search(client):
    query = add_query(client, RED, GREEN)
    assert (query["width"], query["height"]) == (96, 72)
    boxes = sorted(person["box"] for person in query["people"])
    assert boxes == [[10, 20, 24, 60], [50, 20, 64, 60]]
    red = next(one["index"] for one in query["people"] if one["box"][0] == 10)
    answer = search(client, [{"query": query["id"], "index": red}])
    assert answer["searched"] == 9
    cameras = [match["camera"] for match in answer["matches"]]
    assert sorted(cameras[:4]) == ["door", "street", "street", "yard"]  # where red is
    assert answer["matches"][0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert [match["rank"] for match in answer["matches"]] == list(range(1, 7))
    again = search(client, [{"detection": answer["matches"][0]["detection"]}], cameras=["yard"])
    assert [match["name"] for match in again["matches"]] == ["yard.png"]


def test_a_drawn_box_needs_no_detection(client):
    query = add_query(client, RED)
    people = client.get(f"/api/v1/queries/{query['id']}/image.jpg")
    assert Image.open(io.BytesIO(people.content)).size == (96, 72)
    answer = search(client, [{"query": query["id"], "box": [8, 18, 30, 62]}])
    assert answer["matches"][0]["similarity"] == pytest.approx(1, abs=1e-5)
    outside = {"of": [{"query": query["id"], "box": [200, 18, 300, 62]}]}
    assert "inside the image of 96 x 72" in fault(client.post("/api/v1/search", json=outside))


def test_a_box_in_shares_of_the_image_is_the_only_person(client, gallery):
    before = gallery.predictor.num_images
    image = encode(draw_blocks({RED: 10, GREEN: 60}))
    head = {"content-type": "image/png"}
    path = "/api/v1/queries?box=0.6,.25,0.82,0.9"
    query = client.post(path, content=image, headers=head).json()
    (person,) = query["people"]
    assert person["box"] == pytest.approx([57.6, 18, 78.72, 64.8]) and person["score"] == 1
    best = search(client, [{"query": query["id"], "index": 0}])["matches"][0]
    assert best["name"] == "door.png" and best["similarity"] == pytest.approx(1, abs=1e-5)
    source = list_sources(client)["street.avi"]
    frame = {"source": source, "seconds": 2.5}
    query = client.post("/api/v1/queries?box=0.2,0.25,0.36,0.9", json=frame).json()
    assert (len(query["people"]), query["frame"], query["time"]) == (1, 25, 2.5)
    assert gallery.predictor.num_images == before, "the detector is not needed"
    for box in ("", "0,0,1", "0,0,1,1,1", "0,0,2,2", "a,b,c,d", "nan,0,1,1", "-1,0,1,1", ",,,"):
        answer = client.post(f"/api/v1/queries?box={box}", content=image, headers=head)
        assert "box" in fault(answer), box
    empty = client.post("/api/v1/queries?box=0.5,0.5,0.5,0.9", content=image, headers=head)
    assert "box: [48.0, 36.0, 48.0, 64.8]; expected x1 < x2" in fault(empty)


def test_other_days_are_marked(tmp_path):
    """Photographs have no time here; the video begins before midnight and ends after it."""
    midnight = datetime(2026, 5, 2).timestamp()
    with make_gallery(tmp_path, midnight - 1.8) as gallery, make_client(gallery) as client:
        found = search(client, [{"detection": 4}], per="match")["matches"]
        days = {one["time"] >= midnight: one["other_day"] for one in found if one["time"]}
        assert days == {False: False, True: True}
        assert not any(one["other_day"] for one in found if one["time"] is None)
        both = [{"detection": 4}, {"detection": 9}]
        found = search(client, both, per="match")["matches"]
        assert not any(one["other_day"] for one in found)
        source = list_sources(client)["street.avi"]
        query = client.post("/api/v1/queries", json={"source": source, "seconds": 1.0}).json()
        found = search(client, [{"query": query["id"], "index": 0}], per="match")["matches"]
        assert any(one["other_day"] for one in found), "frames of the footage have a time"


def test_several_views_are_averaged(client):
    query = add_query(client, RED, BLUE)
    both = [{"query": query["id"], "index": index} for index in (0, 1)]
    best = search(client, both)["matches"][0]
    assert 0.5 < best["similarity"] < 0.9


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["door.png", "yard.png", *["street.avi"] * 4]),
        ({"cameras": ["yard", "door"]}, ["door.png", "yard.png"]),
        ({"since": 1.2, "until": 2.2}, ["street.avi"] * 2),
        ({"limit": 1}, ["door.png"]),
        ({"per": "match"}, ["yard.png", *["door.png"] * 2, *["street.avi"] * 6]),
        ({"min_score": 0.99}, None),
    ],
)
def test_filters_choose_the_matches(client, fields, names):
    matches = search(client, [{"query": add_query(client, RED)["id"], "index": 0}], **fields)
    if names is None:
        assert matches["matches"] and all(one["score"] >= 0.99 for one in matches["matches"])
    else:
        assert sorted(one["name"] for one in matches["matches"]) == sorted(names)


def test_files_can_be_searched_by_their_ids(client):
    source = list_sources(client)["street.avi"]
    answer = search(client, [{"detection": 1}], sources=[source])
    assert answer["searched"] == 6 and {one["source"] for one in answer["matches"]} == {source}


def test_indexed_frames_need_no_model(client, gallery):
    sources = list_sources(client)
    before = gallery.predictor.num_images
    door = client.post("/api/v1/queries", json={"source": sources["door.png"]}).json()
    assert sorted(one["detection"] for one in door["people"]) == [1, 2]
    street = {"source": sources["street.avi"]}
    first = client.post("/api/v1/queries", json=street).json()
    assert (first["frame"], first["time"], first["seconds"]) == (10, 1.0, 1.0)
    following = client.post("/api/v1/queries", json={**street, "after": first["time"]}).json()
    assert (following["frame"], following["time"]) == (15, 1.5)
    assert gallery.predictor.num_images == before
    last = client.post("/api/v1/queries", json={**street, "after": 2.5})
    assert "street.avi: has no detection after then" in fault(last)


def test_any_moment_of_a_video_is_a_query(client, gallery):
    source = list_sources(client)["street.avi"]
    before = gallery.predictor.num_images
    query = client.post("/api/v1/queries", json={"source": source, "seconds": 2.33}).json()
    assert query["frame"] == 23 and len(query["people"]) == 2
    assert gallery.predictor.num_images == before + 1
    length = client.get(f"/api/v1/sources/{source}").json()["seconds"]
    at_end = client.post("/api/v1/queries", json={"source": source, "seconds": length})
    assert at_end.status_code == 201, at_end.text
    assert at_end.json()["frame"] == round(length * 10) - 1, "the last one"
    for seconds, reason in ((50, "has no frame 500"), (99, "expected a moment of the video")):
        beyond = client.post("/api/v1/queries", json={"source": source, "seconds": seconds})
        assert reason in fault(beyond)


@pytest.mark.parametrize("start", [0.0, 600.0, NOON, NOON + 0.1234567])
def test_seconds_count_from_the_beginning_of_the_file(tmp_path, start):
    with make_gallery(tmp_path, start) as gallery, make_client(gallery) as client:
        (match, *_) = search(client, [{"detection": 4}], cameras=["street"])["matches"]
        track = get(client, f"detections/{match['detection']}")
        (box,) = track["boxes"]
        assert box["seconds"] == pytest.approx(match["frame"] / 10)
        assert match["time"] == pytest.approx(start + box["seconds"], abs=1e-6)


def test_pictures_of_a_match(client):
    for detection, size in ((1, (96, 72)), (4, (96, 72))):
        for name in ("crop.jpg", "frame.jpg"):
            answer = client.get(f"/api/v1/detections/{detection}/{name}")
            assert answer.headers["content-type"] == "image/jpeg"
            image = Image.open(io.BytesIO(answer.content))
            assert image.size == size if name == "frame.jpg" else image.width < size[0]
    clip = client.get("/api/v1/detections/4/clip.webp")
    image = Image.open(io.BytesIO(clip.content))
    assert image.format == "WEBP" and 1 < image.n_frames <= 15  # equal frames are one
    message = fault(client.get("/api/v1/detections/1/clip.webp"))
    assert "door.png is an image; expected a video" in message


@pytest.mark.parametrize(
    ("header", "status"), [("x", 400), ("bytes=9-1", 400), ("bytes=999999999-", 416)]
)
def test_a_refused_range_is_an_error_as_all(client, header, status):
    address = f"/api/v1/sources/{list_sources(client)['street.avi']}/media"
    answer = client.get(address, headers={"range": header})
    assert "expected bytes=FIRST-LAST" in fault(answer, status)
    assert answer.headers.get("content-range", "").startswith("bytes */" if status == 416 else "")


def test_a_video_comes_in_ranges(client, tmp_path):
    content = (tmp_path / "media" / "street.avi").read_bytes()
    address = f"/api/v1/sources/{list_sources(client)['street.avi']}/media"
    whole = client.get(address)
    assert whole.content == content and whole.headers["accept-ranges"] == "bytes"
    part = client.get(address, headers={"range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == content[100:200]
    many = client.get(address, headers={"range": "bytes=" + ",".join("0-9" for _ in range(2000))})
    assert many.status_code < 500 and len(many.content) <= 2 * len(content)


def test_changed_and_deleted_files_are_not_shown(client, gallery, tmp_path):
    sources = list_sources(client)
    os.utime(tmp_path / "media" / "yard.png", ns=(1, 1))
    (tmp_path / "media" / "street.avi").unlink()
    for path in ("detections/3/crop.jpg", "detections/3/frame.jpg"):
        assert "changed since it was indexed" in fault(client.get(f"/api/v1/{path}"))
    street = sources["street.avi"]
    for path in ("detections/4/clip.webp", f"sources/{street}/media"):
        assert "street.avi" in fault(client.get(f"/api/v1/{path}"))
    assert "No such file" in get(client, f"sources/{street}")["fault"]
    assert "No such file" in get(client, "detections/4")["fault"]
    assert len(search(client, [{"detection": 1}])["matches"]) == 6  # still answered


def test_deleted_sources_are_gone_at_once_and_by_other_processes_soon(client, gallery, tmp_path):
    crop = "/api/v1/detections/3/crop.jpg"
    assert client.get(crop).status_code == 200  # kept in memory now
    gallery.store.delete(str(tmp_path / "media" / "yard.png"))
    assert "there is no 3" in fault(client.get(crop), 404)


def test_openapi_describes_every_route_and_its_page_loads_nothing(client):
    document = client.get("/api/openapi.json").json()
    page = client.get("/api/docs").text
    for path, methods in document["paths"].items():
        assert path in page
        assert all(route.get("description") for route in methods.values()), path
    assert "<script" not in page and "http://" not in page and "https://" not in page


def test_the_page_names_no_other_server(client):
    for path in ("/", "/static/app.js", "/static/style.css"):
        text = client.get(path).text.replace("http://www.w3.org/", "")
        assert "http://" not in text and "https://" not in text, path
