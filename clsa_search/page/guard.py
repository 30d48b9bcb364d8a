"""Filter in front of the page's server: requests of the page itself, and no others."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clsa_search.data.image_io import IMAGE_SUFFIXES
from clsa_search.json_files import parse_json
from clsa_search.page.folder import contains, measure

_API = "/gradio_api"
_FILE, _UPLOAD, _JOIN = f"{_API}/file=", f"{_API}/upload", f"{_API}/queue/join"
_READ = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json"}
_READ |= {f"{_API}/{name}" for name in ("startup-events", "theme.css", "queue/data")}
_READ |= {f"{_API}/upload_progress"}
_READ_UNDER = "/assets/", "/static/", "/svelte/", f"{_API}/heartbeat/"
_WRITE = {_UPLOAD, _JOIN, f"{_API}/cancel", f"{_API}/reset"}
_MAX_MESSAGE_BYTES = 1 << 20
_MAX_DEPTH = 32  # of nested lists and dictionaries; the page needs a few
_FORM_BYTES = 1 << 16  # allowance for the form around an uploaded file


class Guard:
    """ASGI middleware with an allow list.

    It refuses: addresses not used by the page (programming interface, fetching from other
    servers), files outside the folder of shown and uploaded images, foreign hosts and origins
    (another page in the same browser), large bodies, uploads without the name of an image, and
    uploads beyond the size of the folder.

    Args:
        app: guarded application.
        folder: folder of readable files.
        max_upload: largest size of a file, bytes.
        max_folder: largest size of all files, bytes.
        hosts: accepted names of the server; None accepts all.
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
        self.app = app
        self._folder = folder
        self._max_upload = max_upload
        self._max_folder = max_folder
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or refuse it."""
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
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer; refuse a request that it fails on."""
        has_started = False

        async def note_start(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self.app(scope, receive, note_start)
        except Exception:  # listeners run elsewhere: this is the request's fault
            if has_started:
                raise
            await PlainTextResponse("The page has no such part.", 400)(scope, receive, send)

    def _refuse(self, request: Request) -> tuple[int, str] | None:
        """Return status and reason if the head of a request is refused."""
        path, origin = request.url.path, request.headers.get("origin")
        host = request.headers.get("host", "")
        if self._hosts is not None and urlsplit(f"//{host}").hostname not in self._hosts:
            return 403, "This page has another host name."
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "Requests from other pages are refused."
        if request.method == "POST" and path in _WRITE:
            size = request.headers.get("content-length", "")
            if not size.isdecimal():
                return 411, "The size is missing."
            limit = self._max_upload + _FORM_BYTES if path == _UPLOAD else _MAX_MESSAGE_BYTES
            return None if int(size) <= limit else (413, f"The limit is {limit} bytes.")
        if request.method in ("GET", "HEAD"):
            if path.startswith(_FILE):
                is_shown = contains(self._folder, path.removeprefix(_FILE))
                return None if is_shown else (403, "This file is not available.")
            if path in _READ or path.startswith(_READ_UNDER):
                return None
        return 404, "Not found."

    async def _refuse_upload(self, request: Request) -> tuple[int, str] | None:
        """Return status and reason if an upload is refused.

        Gradio itself would accept a thousand files of any kind, and keep those in other fields.
        """
        stored = await run_in_threadpool(measure, self._folder)
        if stored + len(await request.body()) > self._max_folder:
            return 507, "There are too many images at the moment; wait up to an hour."
        try:
            async with request.form(max_files=1, max_fields=0) as form:
                files = form.getlist("files")
        except (HTTPException, ValueError):
            files = []
        names = [file.filename or "" for file in files if isinstance(file, UploadFile)]
        if any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
            return None
        return 415, f"This is not an image; expected one of {', '.join(sorted(IMAGE_SUFFIXES))}."

    def _refuse_message(self, body: bytes) -> tuple[int, str] | None:
        """Return status and reason if a message is refused.

        All files of a message must be uploads: the server reads and fetches no others.
        """
        try:
            paths = list(_list_paths(parse_json(body, "message")))
        except (ValueError, RecursionError):
            return 400, "This is not a message of the page."
        if all(isinstance(path, str) and contains(self._folder, path) for path in paths):
            return None
        return 403, "Files must be uploaded; others are neither read nor fetched."


def _list_paths(value: Any, depth: int = _MAX_DEPTH) -> Iterator[Any]:
    """Yield the value of every key `path`, at any depth."""
    if not depth:
        raise ValueError("is nested too deeply")  # Gradio itself would descend without end
    if isinstance(value, dict):
        if value.get("path") is not None:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _list_paths(item, depth - 1)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receiver with the body once more, for the guarded application."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again
