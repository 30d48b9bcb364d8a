"""Bad requests to the desk: over its application, as a server passes them on."""

import contextlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from starlette.testclient import TestClient

from tests.fuzz.harness import Trial
from tests.fuzz.mutations import TEXTS, VALUES, damage, mutate
from tests.support.desk_cases import encode, make_client, make_gallery
from tests.support.footage import draw_blocks

_SECRETS = (b"root:", b"SQLite format", b"Traceback")
_HOSTS = ["[", "]", "[::1", "a b", "evil.example", "testserver:x", "testserver:99999999", "", "::"]
_ENDS = ["../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "..%2f..%2fetc%2fpasswd", "%00", "%ff"]
_KINDS = ["image/png", "image/svg+xml", "text/html", "application/json", "multipart/form-data", ""]
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
_BOXES = ["0,0,0,0", "1,1,0,0", "nan,0,1,1", "0,0,1e9,1", "0,0,1,", "٠,٠,١,١", "0,0,1,1\n"]
_RANGES = ["bytes=0-", "bytes=-1", "bytes=9-1", "bytes=x-y", "bytes=" + "0-1," * 500, "a=0-1", "-"]


@contextmanager
def desk_requests(folder: Path) -> Iterator[Trial]:
    """Send bad values, bodies, addresses and headers; the desk answers, and goes on."""
    image = encode(draw_blocks({0: 10, 1: 60}))
    with make_gallery(folder) as gallery, make_client(gallery) as client:
        places = _list_places(client, image)

        def trial(chance: random.Random) -> None:
            with contextlib.suppress(httpx2.InvalidURL, UnicodeEncodeError):  # cannot be sent
                kind = chance.choice((_upload, _search, _get, _write, _head))
                _check(kind(client, places, image, chance))
            assert client.get("/healthz").status_code == 200, "the desk has ended"

        yield trial


def _list_places(client: TestClient, image: bytes) -> dict[str, Any]:
    """Return ids of all kinds, and every address of the API with them."""
    head = {"content-type": "image/png"}
    query = client.post("/api/v1/queries", content=image, headers=head).json()["id"]
    source = client.get("/api/v1/sources").json()["sources"][2]["id"]
    ids = {"query_id": query, "source_id": source, "detection_id": 4}
    paths = list(client.get("/api/openapi.json").json()["paths"])
    return {"ids": ids, "paths": [path.format_map(_Known(ids)) for path in paths]}


class _Known(dict):
    """Ids by the names of parameters; 1 for others."""

    def __missing__(self, name: str) -> int:
        return 1


def _upload(client: TestClient, places: dict, image: bytes, chance: random.Random) -> Any:
    """Upload a damaged image under any type."""
    head = {"content-type": chance.choice(_KINDS)}
    content = chance.choice((image, damage(image, chance)))
    box = chance.choice(
        ("", "?box=0,0,1,1", "?box=" + quote(chance.choice((*_BOXES, *TEXTS))[:500]))
    )
    return client.post(f"/api/v1/queries{box}", content=content, headers=head)


def _search(client: TestClient, places: dict, image: bytes, chance: random.Random) -> Any:
    """Search with other values, types and nesting."""
    query = places["ids"]["query_id"]
    of = chance.choice(
        ({"query": query, "index": 0}, {"query": query, "box": [5, 5, 30, 60]}, {"detection": 2})
    )
    request = {"of": [of], "cameras": ["door"], "since": 0, "until": 9, "limit": 5, "per": "image"}
    body = {**request, chance.choice([*request, "other"]): chance.choice(VALUES)}
    return _post(client, "/api/v1/search", chance.choice((body, mutate(request, chance))), chance)


def _write(client: TestClient, places: dict, image: bytes, chance: random.Random) -> Any:
    """Send any JSON with any method to any address."""
    bodies = [
        {"source": places["ids"]["source_id"], "seconds": 1.0, "after": None},
        {"tracklets": [1, 4], "kind": "crops", "search": {"of": [{"detection": 2}]}, "said": {}},
        {"tracklets": [4], "cameras": ["yard"], "dry_run": True, "before": 5.0},
        {"name": "Ann", "of": [{"tracklet": 4}], "note": "", "until": 2e9},
        {"source": places["ids"]["source_id"], "box": [5, 5, 40, 60], "frame": 3},
        {"said": "same"},
        {"kind": "index", "folder": None, "again": False},
        {"kind": "link", "again": True},
        {"of": [{"person": 1}]},
        {"person": 1, "dry_run": True},
        {"token": "x"},
    ]
    path = chance.choice([*places["paths"], "/session"])
    return _post(
        client, path, mutate(chance.choice(bodies), chance), chance, chance.choice(_METHODS)
    )


def _get(client: TestClient, places: dict, image: bytes, chance: random.Random) -> Any:
    """Ask for an address with a bad part."""
    path = chance.choice(places["paths"])
    text = chance.choice((*TEXTS, *_ENDS)).encode(errors="replace").decode()[:500]
    known = chance.choice([str(value) for value in places["ids"].values()])
    forms = (path + text, path.replace(known, text), f"{path}?seconds={quote(text)}", f"/{text}")
    return client.get(chance.choice(forms), headers={"range": chance.choice(_RANGES)})


def _head(client: TestClient, places: dict, image: bytes, chance: random.Random) -> Any:
    """Send headers of other hosts, pages and clients."""
    text = chance.choice((*TEXTS, *_HOSTS)).encode("latin-1", errors="replace")[:1000]
    name = chance.choice(("host", "origin", "authorization", "cookie", "range", "sec-fetch-site"))
    name = chance.choice((name, "content-length", "transfer-encoding", "x-forwarded-host"))
    path = chance.choice(places["paths"])
    return client.get(path, headers={name: text.replace(b"\n", b"").replace(b"\0", b"")})


def _post(
    client: TestClient, path: str, body: Any, chance: random.Random, method: str = "POST"
) -> Any:
    try:
        content = json.dumps(body).encode()
    except (ValueError, RecursionError):  # no JSON
        content = repr(body)[:10_000].encode(errors="replace")
    if chance.random() < 0.2:
        content = damage(content, chance)
    head = {"content-type": "application/json"}
    return client.request(method, path, content=content, headers=head)


def _check(answer: Any) -> None:
    where = f"{answer.request.method} {answer.request.url}"
    assert answer.status_code < 500, f"{where}: status {answer.status_code}"
    assert not any(secret in answer.content for secret in _SECRETS), f"{where}: leaks"
    if answer.status_code >= 400 and answer.headers["content-type"] == "application/json":
        assert answer.request.method == "HEAD" or answer.json()["error"]["message"], where
