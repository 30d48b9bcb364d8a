"""What may be asked of the page's server, whatever else Gradio would answer."""

import json
import os
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_API = "/gradio_api"
_FILE, _UPLOAD, _JOIN = f"{_API}/file=", f"{_API}/upload", f"{_API}/queue/join"
_READ = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json"}
_READ |= {f"{_API}/{name}" for name in ("startup-events", "theme.css", "queue/data")}
_READ |= {f"{_API}/upload_progress"}
_READ_UNDER = "/assets/", "/static/", "/svelte/", f"{_API}/heartbeat/"
_WRITE = {_UPLOAD, _JOIN, f"{_API}/cancel", f"{_API}/reset"}
_MAX_MESSAGE_BYTES = 1 << 20
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
        self._folder = os.path.realpath(folder)
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
            refusal = _refuse_message(body)
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
                is_shown = self._holds(path.removeprefix(_FILE))
                return None if is_shown else (403, "This file is not shown here.")
            if path in _READ or path.startswith(_READ_UNDER):
                return None
        return 404, "There is nothing here."

    def _holds(self, path: str) -> bool:
        """Whether a file lies in the folder."""
        return os.path.realpath(path).startswith(self._folder + os.sep)


def _refuse_message(body: bytes) -> tuple[int, str] | None:
    """Files of a message must have been uploaded: the server fetches none from elsewhere."""
    try:
        message = json.loads(body)
    except ValueError:
        return 400, "This is no JSON."
    return (403, "Files are uploaded, not fetched.") if _names_remote_file(message) else None


def _names_remote_file(value: Any) -> bool:
    if isinstance(value, dict):
        is_remote = "://" in str(value.get("path"))
        return is_remote or any(map(_names_remote_file, value.values()))
    return isinstance(value, list) and any(map(_names_remote_file, value))


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, for who comes next."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again
