"""The desk over a gallery on Milvus: it answers as over SQLite, and forgets what is deleted."""

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from clsa_search.gallery import copy_gallery, open_store
from clsa_search.retrieval.gallery_search import GallerySearch
from tests.support.desk_cases import make_client, make_gallery
from tests.support.footage import BlockPredictor

MEDIA = "{}/crop.jpg", "{}/frame.jpg"
SHARED = "rank", "name", "camera", "first", "last", "frame", "box", "detections", "similarity"


def search(client, tracklet):
    answer = client.post("/api/v1/search", json={"of": [{"tracklet": tracklet}]})
    assert answer.status_code == 200, answer.text
    return answer.json()["matches"]


def list_tracklets(client):
    return client.get("/api/v1/tracklets?limit=100").json()["tracklets"]


def describe(matches):
    return [{name: match[name] for name in SHARED} for match in matches]


def test_it_answers_as_over_sqlite_and_forgets_deleted_images(tmp_path, milvus_server):
    address = f"{milvus_server}/desk_of_blocks"
    with make_gallery(tmp_path) as gallery, make_client(gallery) as client:
        copy_gallery(gallery.store, address)
        first = list_tracklets(client)[0]
        expected = describe(search(client, first["tracklet"]))
    with GallerySearch(open_store(address), BlockPredictor()) as gallery:
        with make_client(gallery) as client:  # loads in a thread, as over SQLite
            counts = client.get("/api/v1/gallery").json()
            assert (counts["detections"], counts["tracklets"], counts["sources"]) == (9, 5, 3)
            listed = list_tracklets(client)
            matches = search(client, listed[0]["tracklet"])
            assert len(matches) == len(expected)
            for one, other in zip(describe(matches), expected, strict=True):
                assert one.pop("similarity") == pytest.approx(other.pop("similarity"), abs=1e-5)
                assert one == other
            best = matches[0]["detection"]
            paths = [f"/api/v1/detections/{form.format(best)}" for form in MEDIA]
            made = [client.get(path).content for path in paths]
            assert [client.get(path).content for path in paths] == made  # kept from before
            assert all(image[:2] == b"\xff\xd8" for image in made)
            gone = {"tracklets": [matches[0]["tracklet"]], "dry_run": False}
            plan = client.post("/api/v1/deletions", json={**gone, "dry_run": True}).json()
            done = client.post("/api/v1/deletions", json={**gone, "confirm": plan["detections"]})
            assert done.status_code == 200, done.text
            assert [client.get(path).status_code for path in paths] == [404, 404]
            assert client.get("/api/v1/gallery").json()["detections"] == 9 - plan["detections"]
