"""Requests that the API refuses, each with its reason."""

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")


from tests.support.desk_cases import (
    RED,
    encode,
    fault,
    post_image,
)
from tests.support.footage import draw_blocks


def test_unknown_things_are_not_found(client):
    for path in (
        *("detections/99", "detections/99/crop.jpg", "sources/0123456789abcdef"),
        *("sources/0123456789abcdef/media", "queries/aaaaaaaaaaaaaaaaaaaaaa/image.jpg", "nothing"),
    ):
        fault(client.get(f"/api/v1/{path}"), 404)
    gone = client.post("/api/v1/search", json={"of": [{"query": "a" * 22, "index": 0}]})
    assert fault(gone, 404) == "query: is not kept any more; expected the image once more"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "of: is missing; expected a value"),
        ({"of": []}, "of: []; expected at least 1 item"),
        ({"of": [{}]}, "of[0]: {}; expected query and index, query and box,"),
        ({"of": [{"person": 1, "detection": 2}]}, "of[0]: {'detection': 2, 'person': 1}; expected"),
        ({"of": [{"detection": 1, "index": 2}]}, "of[0]: {'detection': 1, 'index': 2}; expected"),
        ({"of": [{"detection": 2**70}]}, "of[0].detection: "),
        ({"of": [{"detection": 1}], "nothing": 1}, "nothing: 1; expected no such field"),
        ({"of": [{"detection": 1}], "cameras": ["moon"]}, "camera: moon has no detections"),
        ({"of": [{"detection": 1}], "since": 5, "until": 1}, "since: 0:00:05.0 is later than"),
        ({"of": [{"detection": 1}], "since": 1.8e9}, "is a date; expected a time within the video"),
        ({"of": [{"detection": 1}], "limit": 0}, "limit: 0; expected greater than or equal to 1"),
    ],
)
def test_a_bad_search_names_its_field(client, request_, message):
    assert message in fault(client.post("/api/v1/search", json=request_))


BAD_JSON = [b"", b"{", b"\xff", b"nan", b"[" * 100_000, b'{"of":' + b"9" * 5000]


@pytest.mark.parametrize("body", BAD_JSON)
def test_what_is_no_json_is_refused(client, body):
    head = {"content-type": "application/json"}
    for path in ("search", "queries"):
        answer = client.post(f"/api/v1/{path}", content=body, headers=head)
        assert answer.status_code in (400, 422)
        assert "; expected a" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<b>text</b>", "image: not readable as an image; expected one of"),
        (encode(draw_blocks({RED: 10}))[:150], "image: not readable as an image"),
        (b"", "image: not readable"),
    ],
)
def test_a_bad_upload_is_reported_in_plain_words(client, content, reason):
    assert reason in fault(post_image(client, content))


def test_an_image_with_too_many_pixels_is_not_decoded(client):
    content = encode(np.zeros((8001, 8001), np.uint8), "PNG")
    assert fault(post_image(client, content)) == (
        "image: has too many pixels; expected at most 64 million"
    )
