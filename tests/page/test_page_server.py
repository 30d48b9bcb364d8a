"""The page over HTTP: sessions, their separation, and how it is served."""

import os
import signal
import socket

import pytest

pytest.importorskip("gradio", reason="the page is built with Gradio, which is not installed")

import gradio
import httpx

from clsa_search.errors import InputError
from clsa_search.page.server import serving
from clsa_search.retrieval.predictor import PersonSearchPredictor
from tests.support.footage import BlockPredictor, draw_blocks
from tests.support.page_cases import (
    BLUE,
    FIELDS,
    GREEN,
    RED,
    PageClient,
    as_file,
    encode,
    find_free_port,
    make_gallery,
)
from tests.support.tiny import load_tool


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def url(folder):
    with make_gallery(folder) as gallery, serving(gallery, port=find_free_port()) as page:
        yield page.local_url


@pytest.fixture
def client(url):
    return PageClient(url)


def encode_people(*people):
    return encode(draw_blocks({person: 10 + 40 * i for i, person in enumerate(people)}))


def search(client, fields=FIELDS):
    """Captions under the matches, and the text above them."""
    worked, output, warnings = client.do("path", "submit", *fields)
    assert worked and not warnings
    _, _, _, _, text, matches, _ = output["data"]
    return [item["caption"] for item in matches["value"]], text


def test_a_session_from_the_upload_to_the_next_search(client):
    worked, output, warnings = client.load(encode_people(RED, GREEN))
    assert worked and not warnings
    number, image = output["data"][1], output["data"][4]
    assert [value for _, value in number["choices"]] == [1, 2] and number["value"] is None
    shown = client.http.get(image["value"]["url"])
    assert shown.status_code == 200 and shown.headers["content-type"] == "image/jpeg"

    scale = 10  # of the image with numbers
    _, output, _ = client.do("detections", "select", select=[15 * scale, 40 * scale])
    red = output["data"][1]
    captions, text = search(client)
    assert f"person {red} of image.png" in text and "6 matches" in text
    assert captions[0].startswith("1 · 1.00\n")
    cameras = [caption.split("\n")[1] for caption in captions]
    assert sorted(cameras[:4]) == ["door", "street", "street", "yard"]

    index = cameras.index("door")
    _, output, warnings = client.do("matches", "select", select=index)
    assert "match" in output["data"][2] and "door.png" in output["data"][4] and not warnings
    worked, _, warnings = client.do("search_match", "click")
    assert worked and not warnings
    assert "door · door" in search(client)[1]

    captions, _ = search(client, [["yard"], *FIELDS[1:]])
    assert [caption.split("\n")[1:] for caption in captions] == [["yard", "yard.png"]]


def test_the_default_request_finds_every_detection(client):
    parts = client.http.get("/config").json()["components"]
    (score,) = [
        part["props"] for part in parts if part["props"].get("label") == "Minimum detection score"
    ]
    assert (score["minimum"], score["maximum"], score["value"]) == (0, 1, 0)


def test_an_indexed_image_can_be_chosen(client):
    client.do("source_filter", "submit", "street")
    worked, output, warnings = client.do("sources", "select", select=0)
    assert worked and not warnings
    assert output["data"][4]["label"] == "street.avi · 0:00:01.0"
    captions, text = search(client)  # its only person is chosen
    assert "person 1 of street.avi · 0:00:01.0" in text
    assert all("street" in caption for caption in captions[:4])


def test_sessions_stay_apart(url):
    red, blue = PageClient(url), PageClient(url)
    red.load(encode_people(RED), "red.png")
    blue.load(encode_people(BLUE), "blue.png")
    assert "person 1 of red.png" in search(red)[1]
    captions, text = search(blue)
    assert "person 1 of blue.png" in text and "street" in captions[0]
    worked, output, _ = PageClient(url).do("path", "submit", *FIELDS)
    assert worked and output["data"][5] == {"visible": False, "__type__": "update"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<b>text</b>", "bad&lt;b&gt;.jpg: not readable as an image; expected one of"),
        (encode_people(RED)[:150], "bad&lt;b&gt;.jpg: not readable as an image"),
        (b"", "bad&lt;b&gt;.jpg: not readable"),
        (encode_people(), "bad&lt;b&gt;.jpg: no detection with a score of 0.5 or more"),
    ],
)
def test_a_bad_upload_is_reported_in_plain_words(client, folder, capfd, content, reason):
    path = client.upload(content, "bad.jpg")
    worked, _, warnings = client.do("upload", "input", as_file(path, "bad<b>.jpg"))
    assert worked and len(warnings) == 1 and reason in warnings[0]
    assert str(path) not in warnings[0]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("index", [-1, 99, 10**20, 1.5, "0", None, [0, 1], {"a": 1}])
def test_choices_not_on_offer_change_nothing(client, index):
    client.load(encode_people(RED))
    before = search(client)
    for part in ("matches", "sources"):
        client.do(part, "select", select=index)
    _, output, warnings = client.do("search_match", "click")
    assert len(warnings) == 1 and "is not there any more" in warnings[0]
    assert search(client, [*FIELDS[:6], 5])[1] == before[1].replace("6 m", "5 m")


def test_nothing_is_left_when_it_ends(tmp_path):
    before = os.environ.get("GRADIO_TEMP_DIR")
    with make_gallery(tmp_path) as gallery:
        with serving(gallery, port=find_free_port()) as page:
            shown = os.environ["GRADIO_TEMP_DIR"]
            PageClient(page.local_url).load(encode_people(RED))
            assert shown != before and os.listdir(shown)
        assert not os.path.exists(shown) and os.environ.get("GRADIO_TEMP_DIR") == before
        with pytest.raises(httpx.ConnectError):
            httpx.get(page.local_url)


def test_a_port_in_use_is_named(tmp_path):
    with make_gallery(tmp_path) as gallery, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"127\.0\.0\.1:{port}: cannot listen there"):
            with serving(gallery, port=port):
                pass


def test_the_command_serves_the_gallery_with_its_weights(tmp_path, monkeypatch, capsys):
    make_gallery(tmp_path).close()
    monkeypatch.setattr(PersonSearchPredictor, "load", lambda *args, **options: BlockPredictor())
    sessions = []

    def run_session(page):
        sessions.append(PageClient(page.local_url).load(encode_people(RED))[0])

    monkeypatch.setattr(gradio.Blocks, "block_thread", run_session)
    monkeypatch.setattr(signal, "signal", lambda *handler: None)  # this is not its process
    port = find_free_port()
    store, weights = str(tmp_path / "gallery.db"), tmp_path / "w.pth"
    weights.touch()
    load_tool("search_gallery").main(
        ["serve", "--store", store, "--weights", str(weights), "--port", str(port)]
    )
    assert sessions == [True]
    assert capsys.readouterr().out == f"http://127.0.0.1:{port}/  Ctrl+C ends it\n"
