"""Bad requests to the page, over HTTP."""

import contextlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fuzz.harness import Trial
from tests.fuzz.mutations import TEXTS, VALUES, damage, mutate
from tests.support.footage import draw_blocks
from tests.support.page_cases import FIELDS, PageClient, encode, find_free_port, make_gallery

_PATHS = ["/", "/config", "/gradio_api/file=", "/gradio_api/upload", "/gradio_api/queue/join"]
_PATHS += ["/gradio_api/queue/data", "/gradio_api/heartbeat/", "/assets/", "/static/", "/svelte/"]
_PATHS += ["/gradio_api/reset", "/gradio_api/cancel", "/gradio_api/startup-events", "/theme.css"]
_EVENTS = [("path", "submit"), ("matches", "select"), ("sources", "select"), ("upload", "input")]
_EVENTS += [("source_filter", "submit"), ("detections", "select"), ("search_match", "click")]


@contextmanager
def page_requests(folder: Path) -> Iterator[Trial]:
    """Send bad values, messages, uploads and addresses; the page answers, and goes on."""
    server = pytest.importorskip("clsa_search.page.server", reason="Gradio is not installed")
    image = encode(draw_blocks({0: 10, 1: 60}))
    with make_gallery(folder) as gallery, server.serving(gallery, port=find_free_port()) as page:
        client = PageClient(page.local_url)
        client.load(image)

        def trial(chance: random.Random) -> None:
            with contextlib.suppress(httpx.TransportError, httpx.InvalidURL, UnicodeEncodeError):
                # refused before it was sent, or closed by a refusal
                chance.choice((_upload, _use, _join, _get))(client, image, chance)
            assert client.http.get("/config").status_code == 200, "the page has ended"

        yield trial


def _upload(client: PageClient, image: bytes, chance: random.Random) -> None:
    """Upload and use a damaged image with any name."""
    name = chance.choice(("a.png", "a.jpg", "a.tif", *TEXTS))[:200]
    content = damage(image, chance)
    answer = client.http.post("/gradio_api/upload", files={"files": (name, content)})
    _check(answer)
    if answer.status_code == 200:
        file = {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        client.do("upload", "input", file)


def _use(client: PageClient, image: bytes, chance: random.Random) -> None:
    """Search, click and choose with bad values."""
    part, event = chance.choice(_EVENTS)
    fields = list(FIELDS)
    fields[chance.randrange(len(fields))] = _plain(chance.choice(VALUES))
    select = _plain(chance.choice(VALUES)) if event == "select" else None
    try:
        answer = client.join(part, event, *fields, select=select)
    except (ValueError, RecursionError):  # no JSON
        return
    _check(answer)
    if answer.status_code == 200:
        client.do("path", "submit", *FIELDS)


def _join(client: PageClient, image: bytes, chance: random.Random) -> None:
    """Send a message with other fields, or damaged bytes."""
    message = {"data": [None, *FIELDS], "fn_index": 3, "session_hash": "x", "event_data": None}
    changed = mutate(message, chance)
    try:
        _check(client.http.post("/gradio_api/queue/join", json=changed))
    except (ValueError, RecursionError):  # no JSON
        content = damage(repr(message).encode(), chance)
        _check(client.http.post("/gradio_api/queue/join", content=content))


def _get(client: PageClient, image: bytes, chance: random.Random) -> None:
    """Ask for an address with a bad end."""
    text = chance.choice((*TEXTS, "../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "%00"))
    address = chance.choice(_PATHS) + text.encode(errors="replace").decode()[:500]
    with client.http.stream("GET", address, timeout=5) as answer:
        _check(answer)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold."""
    return str(value)[:100] if isinstance(value, float | int) and abs(value) > 1e18 else value


def _check(answer: Any) -> None:
    assert answer.status_code < 500, f"{answer.request.url}: status {answer.status_code}"
