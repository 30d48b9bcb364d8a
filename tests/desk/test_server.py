"""The server of the desk: where it listens, its token, raw requests, the command."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from urllib.parse import urlsplit

import httpx2
import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from clsa_search.desk import serve, serving
from clsa_search.desk.server import is_local
from clsa_search.desk.tokens import read_token
from clsa_search.errors import InputError
from tests.support.desk_cases import RED, encode, find_free_port, make_gallery
from tests.support.footage import draw_blocks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("desk")


@pytest.fixture(scope="module")
def url(folder):
    with make_gallery(folder) as gallery, serving(gallery) as url:
        yield url


def send(url, request):
    """Send bytes to the server; return the first line of the answer."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(1 << 16).split(b"\r\n")[0]


def test_it_serves_the_page_and_the_api(url):
    assert "Find a person" in httpx2.get(url).text
    assert httpx2.get(f"{url}api/v1/gallery").json()["detections"] == 9


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: [\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET //../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"GET /static/..%2f..%2fserver.py HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"NONSENSE\r\n\r\n", b"400"),
        (
            b"POST /api/v1/queries HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: 99999999\r\n\r\n",
            b"413",
        ),
        (
            b"POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: -5\r\n\r\n",
            b"400",
        ),
    ],
)
def test_raw_requests_are_refused(url, head, status):
    assert send(url, head).split(b" ")[1] == status
    assert httpx2.get(f"{url}healthz").status_code == 200


def test_a_long_address_is_refused(url):
    answer = send(url, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.split(b" ")[1] in (b"400", b"404", b"414", b"431")  # by the size of its parts


def test_a_flood_of_connections_leaves_the_server_alive(url):
    address = urlsplit(url)
    target = address.hostname, address.port
    connections = [socket.create_connection(target, timeout=10) for _ in range(200)]
    for connection in connections:
        connection.sendall(b"POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\n")
    for connection in connections:
        connection.close()
    assert httpx2.get(f"{url}healthz", timeout=30).status_code == 200


def test_it_listens_on_this_machine_only(url):
    port = urlsplit(url).port
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}
    for address in addresses:
        if not address.startswith(("127.", "::1")):
            with pytest.raises(OSError):
                socket.create_connection((address, port), timeout=2)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("myhost", False)),
    ],
)
def test_which_hosts_only_this_machine_reaches(host, expected):
    assert is_local(host) is expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "0.0.0.0"}, r"host: 0\.0\.0\.0 can be reached .* expected --token-file"),
        ({"host": "[::]"}, "can be reached from other machines; expected --token-file"),
        ({"public_url": "https://a.example/"}, "public-url: https://a.example/ can be reached"),
        ({"public_url": "ftp://a.example/"}, "public-url: 'ftp://a.example/'; expected one as"),
        ({"public_url": "https://["}, r"public-url: 'https://\['; expected one as"),
        ({"public_url": "https://a/?b"}, "expected one as https://search.example.org/"),
    ],
)
def test_it_refuses_to_start_open_to_everybody(tmp_path, options, message):
    with make_gallery(tmp_path) as gallery, pytest.raises(InputError, match=message):
        serve(gallery, port=0, **options)


def test_a_port_in_use_is_named(tmp_path):
    with make_gallery(tmp_path) as gallery, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"127\.0\.0\.1:{port}: cannot listen there"):
            serve(gallery, port=port)


def test_the_token_is_made_once_for_this_user_only(tmp_path):
    path = tmp_path / "new" / "token"
    token, is_new = read_token(path)
    assert is_new and len(token) >= 32 and stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert read_token(path) == (token, False)


@pytest.mark.parametrize("content", ["", "short", "a long token with spaces", "\0" * 20, "ü" * 20])
def test_a_bad_token_is_refused(tmp_path, content):
    path = tmp_path / "token"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="token.*; expected a "):
        read_token(path)
    with pytest.raises(InputError, match="expected a file for the token"):
        read_token(tmp_path)


def test_a_desk_with_a_token_knows_its_users(tmp_path):
    path = tmp_path / "token"
    with make_gallery(tmp_path) as gallery, serving(gallery, token_file=path) as url:
        assert httpx2.get(f"{url}api/v1/gallery").status_code == 401
        head = {"authorization": f"Bearer {path.read_text().strip()}"}
        assert httpx2.get(f"{url}api/v1/gallery", headers=head).status_code == 200


COMMAND = """
import sys
from clsa_search.commands import search_gallery
from clsa_search.retrieval.predictor import PersonSearchPredictor
from tests.support.footage import BlockPredictor
PersonSearchPredictor.load = lambda *args, **options: BlockPredictor()
search_gallery.main(sys.argv[1:])
"""


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_the_gallery_until_a_signal(tmp_path, ended_by):
    make_gallery(tmp_path).close()
    port, weights = find_free_port(), tmp_path / "w.pth"
    weights.touch()
    words = ["serve", str(tmp_path / "gallery.db"), "--weights", str(weights)]
    words += ["--port", str(port), "--token-file", str(tmp_path / "token")]
    server = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        line = server.stdout.readline().decode()
        token = (tmp_path / "token").read_text().strip()
        assert line == f"http://127.0.0.1:{port}/#token={token}  Ctrl+C ends it\n"
        head = {"authorization": f"Bearer {token}", "content-type": "image/png"}
        query = httpx2.post(
            f"http://127.0.0.1:{port}/api/v1/queries",
            content=encode(draw_blocks({RED: 10})),
            headers=head,
        )
        assert query.status_code == 201
    finally:
        server.send_signal(ended_by)
        begin = time.monotonic()
        _, error = server.communicate(timeout=60)
    assert time.monotonic() - begin < 30 and b"Traceback" not in error


@pytest.mark.parametrize("words", [[], ["a.db", "--store", "b.db"]])
def test_the_command_takes_one_gallery(fails_to_parse, words):
    assert "expected one gallery: STORE, or --store STORE" in fails_to_parse("serve", *words)


@pytest.fixture
def fails_to_parse(capsys):
    from clsa_search.commands import search_gallery

    def fail(*words):
        with pytest.raises(SystemExit) as stop:
            search_gallery.main(list(words))
        assert stop.value.code == 2
        return capsys.readouterr().err

    return fail
