"""Requests that the server of the page refuses."""

import os
import socket
import urllib.parse
import uuid

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page is built with Gradio, which is not installed")

import gradio

from clsa_search.page import server
from clsa_search.page.events import Events
from clsa_search.page.layout import Layout
from clsa_search.page.page_images import MAX_UPLOAD_BYTES
from clsa_search.page.server import serving
from clsa_search.page.service import PageService
from clsa_search.page.session import SessionState
from tests.support.footage import draw_blocks, write_image
from tests.support.page_cases import (
    FIELDS,
    RED,
    PageClient,
    as_file,
    encode,
    find_free_port,
    make_gallery,
)

IMAGE = encode(draw_blocks({RED: 10}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def url(folder):
    """Serve a page in an environment that would open it to everyone."""
    with pytest.MonkeyPatch.context() as patch, make_gallery(folder) as gallery:
        patch.setenv("GRADIO_ALLOWED_PATHS", "/")
        patch.setenv("GRADIO_SHARE", "True")
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
        with serving(gallery, port=find_free_port()) as page:
            assert page.share is False and page.analytics_enabled is False
            yield page.local_url


@pytest.fixture
def client(url):
    return PageClient(url)


def test_uploads_are_bounded(client, url):
    address = urllib.parse.urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {address.netloc}\r\n"
        connection.sendall(f"{head}Content-Length: {MAX_UPLOAD_BYTES + (1 << 17)}\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 413"
    # a file a little too large, in a form that is not
    content = b"0" * (MAX_UPLOAD_BYTES + 1)
    refused = client.http.post("/gradio_api/upload", files={"files": ("a.png", content)})
    assert refused.status_code == 413
    endless = client.http.post("/gradio_api/upload", content=iter([b"0" * 9]))
    assert endless.status_code == 411
    message = client.http.post("/gradio_api/queue/join", json={"data": "0" * (1 << 20)})
    assert message.status_code == 413


@pytest.mark.parametrize(
    "files",
    [
        [("files", ("page.html", b"<script></script>"))],
        [("files", ("no suffix", IMAGE))],
        [("files", ("a.png", IMAGE)), ("files", ("b.png", IMAGE))],
        [("files", ("a.png", IMAGE)), ("other", ("b.png", IMAGE))],
        [("other", ("a.png", IMAGE))],
        [("files", (None, IMAGE))],
    ],
    ids=["page", "no suffix", "two", "one more", "other field", "no file"],
)
def test_one_image_at_a_time_is_accepted_and_nothing_else(client, files):
    before = list_shown()
    answer = client.http.post("/gradio_api/upload", files=files)
    assert answer.status_code == 415 and "expected one of .avif, .bmp" in answer.text
    for content, kind in ((b"--x\r\n\r\n", "multipart/form-data; boundary=x"), (b"", "a/b")):
        head = {"content-type": kind}
        answer = client.http.post("/gradio_api/upload", content=content, headers=head)
        assert answer.status_code == 415
    assert list_shown() == before
    assert client.upload(IMAGE, "TAKEN.JPG") in list_shown()


def list_shown():
    shown = os.environ["GRADIO_TEMP_DIR"]
    return {os.path.join(parent, name) for parent, _, names in os.walk(shown) for name in names}


def test_all_uploads_together_are_bounded(tmp_path, monkeypatch):
    content = encode(np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8))
    monkeypatch.setattr(server, "MAX_FOLDER_BYTES", 2 * len(content) + 1000)
    with make_gallery(tmp_path) as gallery, serving(gallery, port=find_free_port()) as page:
        client = PageClient(page.local_url)
        # remove the images of the page itself
        for path in list_shown():
            os.remove(path)
        client.upload(content, "first.png")
        client.upload(content, "second.png")
        third = {"files": ("third.png", content)}
        answer = client.http.post("/gradio_api/upload", files=third)
        assert answer.status_code == 507 and "too many images" in answer.text
        os.remove(list_shown().pop())
        assert client.http.post("/gradio_api/upload", files=third).status_code == 200


def list_forbidden_files(folder):
    store, indexed = folder / "gallery.db", folder / "media" / "door.png"
    shown = os.environ["GRADIO_TEMP_DIR"]
    return [
        "/etc/passwd",
        *(str(store), str(indexed), __file__),
        f"{shown}/../{os.path.basename(__file__)}",
        f"{shown}/../../etc/passwd",
        "http://example.com/",
        "https://example.com/a.png",
        "file:///etc/passwd",
        *(shown, f"{shown}x"),
    ]


def test_only_shown_files_are_reachable(client, folder):
    for path in list_forbidden_files(folder):
        for quoted in (path, urllib.parse.quote(path, safe=""), path.replace("..", "%2e%2e")):
            for address in (f"/gradio_api/file={quoted}", f"/gradio_api/file/{quoted}"):
                answer = client.http.get(address)
                assert answer.status_code in (403, 404), address
                assert "root:" not in answer.text


def test_a_link_out_of_the_folder_leads_nowhere(client):
    link = os.path.join(os.environ["GRADIO_TEMP_DIR"], "link")
    os.symlink("/etc/passwd", link)
    assert client.http.get(f"/gradio_api/file={link}").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        *("info", "openapi.json", "proxy=http://example.com/", "vibe-code/", "runs", "token"),
        *("run-history/records", "dev/reload", "user", "app_id", "profiling/traces"),
    ],
)
def test_addresses_the_page_does_not_need_are_missing(client, path):
    assert client.http.get(f"/gradio_api/{path}").status_code == 404


@pytest.mark.parametrize("path", ["/monitoring", "/monitoring/summary", "/docs", "/openapi.json"])
def test_other_pages_are_missing(client, path):
    assert client.http.get(path).status_code == 404


@pytest.mark.parametrize("path", ["run/search", "api/search", "call/search", "vibe-edit/"])
def test_there_is_no_programming_interface(client, path):
    answer = client.http.post(f"/gradio_api/{path}", json={"data": [None, *FIELDS]})
    assert answer.status_code == 404


@pytest.mark.parametrize("meta", [{}, {"meta": None}, {"meta": {"_type": "other"}}])
def test_files_from_elsewhere_are_not_read(client, folder, meta):
    indexed = str(folder / "media" / "door.png")
    shown = os.environ["GRADIO_TEMP_DIR"]
    link = os.path.join(shown, f"link to {uuid.uuid4().hex}")
    os.symlink(indexed, link)
    relative = os.path.relpath(indexed)
    for path in (indexed, relative, link, str(folder / "gallery.db"), "missing", "\0", shown, 7):
        unmarked = {"path": path, **meta}
        for file in (as_file(path), unmarked, [{"nested": unmarked}]):
            assert client.join("upload", "input", file).status_code == 403, file
    assert client.http.get("/gradio_api/file=%00").status_code == 403


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "other"}}, as_file(None)])
@pytest.mark.parametrize("location", ["beside", "relative", "link", "folder", "nothing", "nowhere"])
def test_only_files_in_the_upload_folder_are_read(tmp_path, monkeypatch, location, meta):
    shown, beside = tmp_path / "shown", tmp_path / "shown beside.png"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(shown))
    write_image(beside, {RED: 10})
    uploaded = write_image(shown / "hash" / "mine.png", {RED: 10})
    (shown / "link.png").symlink_to(beside)
    path = {
        "beside": str(beside),
        "relative": os.path.relpath(beside),
        "link": str(shown / "link.png"),
        "folder": str(uploaded.parent),
        "nothing": None,
        "nowhere": "\0",
    }[location]
    message = "the image: is not there; expected a recently uploaded image"
    with make_gallery(tmp_path) as gallery, gradio.Blocks():
        events = Events(PageService(gallery), Layout())
        with pytest.warns(UserWarning, match=message):
            changes = events.load_upload(SessionState(), {**meta, "orig_name": None, "path": path})
        assert changes == {events.layout.upload: None}
        changes = events.load_upload(SessionState(), {**meta, "path": str(uploaded)})
        assert len(changes[events.state].query_image.detections.boxes) == 1


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deeply_nested_messages_are_refused(client, depth):
    content = b'{"data": ' + b"[" * depth + b"]" * depth + b"}"
    assert client.http.post("/gradio_api/queue/join", content=content).status_code == 400


@pytest.mark.parametrize(
    ("field", "value"), [(0, "nowhere"), (0, 7), (4, "high"), (5, "x"), (6, "many"), (6, [1])]
)
def test_values_of_another_type_change_nothing(client, capfd, field, value):
    fields = [*FIELDS[:field], value, *FIELDS[field + 1 :]]
    client.do("path", "submit", *fields)
    assert "Traceback" not in capfd.readouterr().err
    assert client.do("path", "submit", *FIELDS)[0]


@pytest.mark.parametrize("part", ["matches", "sources", "detections"])
@pytest.mark.parametrize("data", [None, 5, "index", [], {}, {"value": 1}])
def test_clicks_without_an_index_change_nothing(client, capfd, part, data):
    listener = next(
        one for one in client.listeners if [client.ids[part], "select"] in one["targets"]
    )
    message = {"data": [None], "fn_index": listener["id"], "session_hash": client.session}
    answer = client.http.post("/gradio_api/queue/join", json={**message, "event_data": data})
    assert answer.status_code == 200
    assert client.do("path", "submit", *FIELDS)[0]
    assert "Traceback" not in capfd.readouterr().err


def test_a_browser_that_leaves_while_a_listener_starts_leaves_no_traceback(client, capfd):
    """The stream of messages is closed while the next listeners of the session begin."""
    for _ in range(30):
        client.join("path", "submit", *FIELDS)
        params = {"session_hash": client.session}
        with client.http.stream("GET", "/gradio_api/queue/data", params=params):
            client.join("path", "submit", *FIELDS)
    assert client.http.get("/config").status_code == 200
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("number", [-1, 10**18, None, "x", [0]])
def test_listeners_that_do_not_exist_are_refused(client, capfd, number):
    message = {"data": [None, *FIELDS], "fn_index": number, "session_hash": client.session}
    assert client.http.post("/gradio_api/queue/join", json=message).status_code in (400, 422)
    assert client.http.get("/assets/" + "9" * 400).status_code in (400, 404)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("path", ["http://127.0.0.1:9/a.png", "https://example.com/a.png"])
def test_the_server_fetches_nothing(client, path):
    assert client.join("upload", "input", as_file(path)).status_code == 403
    assert client.join("upload", "input", [{"nested": as_file(path)}]).status_code == 403


def test_images_within_a_message_are_not_accepted(client):
    data = as_file(None, url="data:image/png;base64,AAAA")
    worked, _, warnings = client.do("upload", "input", data)
    assert worked and len(warnings) == 1 and "image.png: is not there; expected" in warnings[0]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example:80"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "localhost"}, 200),
    ],
)
def test_other_pages_in_the_browser_are_refused(client, headers, status):
    assert client.http.get("/config", headers=headers).status_code == status


def test_the_page_names_no_other_server_to_load_from(client):
    css = client.http.get("/theme.css").text
    assert css and "@import" not in css and "url(http" not in css and "@font-face" not in css
    assert client.http.get("/config").json()["analytics_enabled"] is False


def test_it_listens_on_this_machine_only(url):
    port = urllib.parse.urlsplit(url).port
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}
    for address in addresses:
        if not address.startswith(("127.", "::1")):
            with pytest.raises(OSError):
                socket.create_connection((address, port), timeout=2)
