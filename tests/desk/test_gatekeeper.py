"""Requests that the desk refuses before they reach it."""

import logging
import threading
import time

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from starlette.websockets import WebSocketDisconnect

from clsa_search.desk import gatekeeper
from clsa_search.desk.http_errors import Busy
from clsa_search.desk.tokens import Keyring
from clsa_search.desk.work_gates import Gate
from tests.support.desk_cases import RED, encode, make_client, make_gallery, post_image
from tests.support.footage import draw_blocks

TOKEN = "0123456789abcdef-secret"
IMAGE = encode(draw_blocks({RED: 10}))


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    with make_gallery(tmp_path_factory.mktemp("desk")) as gallery:
        yield gallery


@pytest.fixture
def guarded(gallery):
    """A client of a desk with a token."""
    with make_client(gallery, keyring=Keyring(TOKEN)) as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "testserver.evil.example"}, 403),
        ({"host": "["}, 400),
        ({"host": "[::1"}, 400),
        ({"host": ""}, 400),
        ({"host": "a b"}, 400),
        ({"host": "testserver:http"}, 400),
        ({"host": "testserver/x"}, 400),
        ({"host": "TESTSERVER:80"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "https://testserver"}, 403),
        ({"origin": "http://testserver"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_other_names_and_pages_are_refused(client, headers, status):
    assert client.get("/api/v1/gallery", headers=headers).status_code == status


def test_a_proxy_has_its_own_origin(gallery):
    origins = ["https://search.example"]
    with make_client(gallery, hosts=None, origins=origins, keyring=Keyring(TOKEN)) as client:
        head = {"origin": origins[0], "host": "search.example"}
        answer = client.post("/session", json={"token": TOKEN}, headers=head)
        assert answer.status_code == 204 and "; Secure" in answer.headers["set-cookie"]


def test_nobody_gets_in_without_the_token(guarded):
    paths = guarded.get("/healthz") and ["gallery", "sources", "detections/1/crop.jpg", "nothing"]
    for path in paths:
        answer = guarded.get(f"/api/v1/{path}")
        assert answer.status_code == 401 and answer.json()["error"]["code"] == "sign_in"
    for path in ("/api/openapi.json", "/api/docs", "/metrics", "/api/v1/jobs/1/events"):
        assert guarded.get(path).status_code == 401
    for path in ("search", "jobs", "queries?box=0,0,1,1"):
        assert guarded.post(f"/api/v1/{path}", json={}).status_code == 401
    for path in ("/", "/static/app.js", "/healthz"):
        assert guarded.get(path).status_code == 200


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        (b"Bearer \xff\xfe", 401),
    ],
)
def test_programs_show_the_token(guarded, value, status):
    head = {"authorization": value}
    assert guarded.get("/api/v1/gallery", headers=head).status_code == status


def test_a_browser_gets_a_session_for_the_token(guarded):
    assert guarded.post("/session", json={"token": "wrong"}).status_code == 401
    answer = guarded.post("/session", json={"token": TOKEN})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    assert guarded.get("/api/v1/gallery").status_code == 200
    guarded.delete("/session")
    assert guarded.get("/api/v1/gallery").status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value[:-1] + ("0" if value[-1] != "0" else "1"),
        lambda value: "9" + value,
        lambda value: value.replace(".", ""),
        lambda value: "." + value,
        lambda value: "²" + value,
        lambda value: "",
    ],
)
def test_sessions_cannot_be_made_up(change):
    keyring = Keyring(TOKEN)
    value = keyring.start_session()
    assert keyring.allows("", {keyring.cookie: value})
    assert not keyring.allows("", {keyring.cookie: change(value)})
    assert not Keyring(TOKEN + "x").allows("", {Keyring(TOKEN + "x").cookie: value})


def test_a_session_ends(monkeypatch):
    keyring = Keyring(TOKEN)
    monkeypatch.setattr("clsa_search.desk.tokens.SESSION_SECONDS", -1)
    assert not keyring.allows("", {keyring.cookie: keyring.start_session()})


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "", "x"],
)
def test_writes_take_json_or_images_only(client, kind):
    head = {"content-type": kind} if kind else {}
    for method, path in (("POST", "/api/v1/search"), ("POST", "/session"), ("PUT", "/api/v1/x")):
        answer = client.request(method, path, content=b"{}", headers=head)
        assert answer.status_code == 415, (method, path, answer.text)


def test_bodies_are_counted(client):
    large = post_image(client, b"0" * (gatekeeper.MAX_IMAGE_BYTES + 1))
    assert large.status_code == 413 and "at most 20 MB" in large.json()["error"]["message"]
    head = {"content-type": "application/json"}
    parts = (b"0" * (1 << 16) for _ in range(17))  # no length is declared
    assert client.post("/api/v1/search", content=parts, headers=head).status_code == 413


def test_every_answer_keeps_browsers_strict(client):
    for path in (
        "/",
        "/static/app.js",
        "/api/v1/gallery",
        "/nothing",
        "/api/v1/detections/1/crop.jpg",
    ):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    assert client.get("/api/v1/gallery").headers["cache-control"] == "no-store"


def test_there_are_no_sockets_and_no_other_pages(client):
    for path in ("/docs", "/redoc", "/openapi.json", "/config", "/static/", "/static/../api.html"):
        assert client.get(path).status_code == 404, path
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/"):
        pass


def test_a_bad_request_is_one_line_of_the_log(client, caplog):
    caplog.set_level(logging.WARNING, logger="clsa_search.desk")
    client.get("/api/v1/detections/99%1b%5b2J%0a")
    client.post("/api/v1/search", json={"of": []})
    client.get("/", headers={"host": "evil.example"})
    client.get("/api/v1/gallery")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3 and not any("\n" in line or "\x1b" in line for line in lines)
    assert lines[1].startswith("422 POST /api/v1/search from testclient: of: []; ")


def test_a_gate_lets_some_wait_and_refuses_the_rest():
    gate, inside, leave = Gate("model", slots=1, waiting=1), threading.Event(), threading.Event()

    def work():
        with gate.enter():
            inside.set()
            assert leave.wait(10)

    threads = [threading.Thread(target=work) for _ in range(2)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    while gate.num_threads < 2:
        time.sleep(0.001)
    with pytest.raises(Busy, match="model: too many requests wait"), gate.enter():
        raise AssertionError("nobody else may enter")
    leave.set()
    for thread in threads:
        thread.join()
    with gate.enter():
        pass


def test_a_full_model_answers_429(gallery, monkeypatch):
    leave = threading.Event()

    def wait(images):
        assert leave.wait(30)
        return [type(gallery.predictor).detect(gallery.predictor, images)[0]]

    monkeypatch.setattr(gallery.predictor, "detect", wait)
    with make_client(gallery) as client:
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(post_image(client, IMAGE)))
            for _ in range(gatekeeper.MAX_IMAGES + 1)
        ]
        for thread in threads:
            thread.start()
        while not answers:
            time.sleep(0.001)
        leave.set()
        for thread in threads:
            thread.join()
        refused, *served = answers
        assert refused.status_code == 429 and refused.headers["retry-after"] == "2"
        assert [answer.status_code for answer in served] == [201] * gatekeeper.MAX_IMAGES
