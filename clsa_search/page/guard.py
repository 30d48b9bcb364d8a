"""What may be asked of the page's server, whatever else Gradio would answer."""

import json
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clsa_search.page.folder import holds

_API = "/gradio_api"
_FILE, _UPLOAD, _JOIN = f"{_API}/file=", f"{_API}/upload", f"{_API}/queue/join"
_READ = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json"}
_READ |= {f"{_API}/{name}" for name in ("startup-events", "theme.css", "queue/data")}
_READ |= {f"{_API}/upload_progress"}
_READ_UNDER = "/assets/", "/static/", "/svelte/", f"{_API}/heartbeat/"
_WRITE = {_UPLOAD, _JOIN, f"{_API}/cancel", f"{_API}/reset"}
_MAX_MESSAGE_BYTES = 1 << 20
_MAX_DEPTH = 32  # of lists and dictionaries in each other; the page's own have a few
_FORM_BYTES = 1 << 16  # around the file that is uploaded


class Guard:
    """Lets through what the page needs of its server.

    Refused are other addresses (the programming interface, fetching from other servers), files
    outside the folder of shown and uploaded pictures, hosts and origins other than the page's own
    (a page of somebody else's in the same browser), and bodies that are too large.
    """

    def __init__(
        self, app: ASGIApp, *, folder: str, max_upload: int, hosts: Collection[str] | None
    ) -> None:
        """
        Args:
            app: that is guarded.
            folder: of the files that may be read.
            max_upload: bytes of a file.
            hosts: names that the server may be called by; None: any.
        """
        self.app = app
        self._folder = folder
        self._max_upload = max_upload
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        request = Request(scope, receive)
        refusal = self._refuse(request)
        if not refusal and request.method == "POST" and request.url.path != _UPLOAD:
            body = await request.body()
            refusal = self._refuse_message(body)
            receive = _replay(body, receive)
        if refusal:
            status, reason = refusal
            await PlainTextResponse(reason, status)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refuse(self, request: Request) -> tuple[int, str] | None:
        """Status and reason, from the head of a request."""
        path, origin = request.url.path, request.headers.get("origin")
        host = request.headers.get("host", "")
        if self._hosts is not None and urlsplit(f"//{host}").hostname not in self._hosts:
            return 403, "This page is served under another name."
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "This page answers itself alone."
        if request.method == "POST" and path in _WRITE:
            size = request.headers.get("content-length", "")
            if not size.isdecimal():
                return 411, "The size is missing."
            limit = self._max_upload + _FORM_BYTES if path == _UPLOAD else _MAX_MESSAGE_BYTES
            return None if int(size) <= limit else (413, f"At most {limit} bytes are taken.")
        if request.method in ("GET", "HEAD"):
            if path.startswith(_FILE):
                is_shown = holds(self._folder, path.removeprefix(_FILE))
                return None if is_shown else (403, "This file is not shown here.")
            if path in _READ or path.startswith(_READ_UNDER):
                return None
        return 404, "There is nothing here."

    def _refuse_message(self, body: bytes) -> tuple[int, str] | None:
        """Files of a message must have been uploaded: the server reads and fetches no others."""
        try:
            paths = list(_list_paths(json.loads(body)))
        except (ValueError, RecursionError):
            return 400, "This is no JSON that the page would send."
        if all(isinstance(path, str) and holds(self._folder, path) for path in paths):
            return None
        return 403, "Files are uploaded, not read or fetched from elsewhere."


def _list_paths(value: Any, depth: int = _MAX_DEPTH) -> Iterator[Any]:
    """What calls itself the path of a file, wherever it stands."""
    if not depth:
        raise ValueError("is nested too deeply")  # Gradio would descend without end
    if isinstance(value, dict):
        if value.get("path") is not None:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _list_paths(one, depth - 1)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, for who comes next."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again
