"""What may be asked of the page's server, whatever else Gradio would answer."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clsa_search.page.folder import holds, measure
from clsa_search.retrieval.media import IMAGE_SUFFIXES

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
    (a page of somebody else's in the same browser), bodies that are too large, and uploads that
    are no pictures by their names or more than the folder may hold.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        folder: str,
        max_upload: int,
        max_folder: int,
        hosts: Collection[str] | None,
    ) -> None:
        """
        Args:
            app: that is guarded.
            folder: of the files that may be read.
            max_upload: bytes of a file.
            max_folder: bytes of all files.
            hosts: names that the server may be called by; None: any.
        """
        self.app = app
        self._folder = folder
        self._max_upload = max_upload
        self._max_folder = max_folder
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
        if not refusal and request.method == "POST":
            body = await request.body()
            if request.url.path == _UPLOAD:
                refusal = await self._refuse_upload(request)
            else:
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

    async def _refuse_upload(self, request: Request) -> tuple[int, str] | None:
        """Gradio would take a thousand files of any kind, and forget those under other names."""
        held = await run_in_threadpool(measure, self._folder)
        if held + len(await request.body()) > self._max_folder:
            return 507, "There are too many pictures at the moment; they are deleted after an hour."
        try:
            async with request.form(max_files=1, max_fields=0) as form:
                names = [file.filename for file in form.getlist("files")]
        except (HTTPException, ValueError):
            names = []
        if any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
            return None
        return 415, f"This is no picture; expected one of {', '.join(sorted(IMAGE_SUFFIXES))}."

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
