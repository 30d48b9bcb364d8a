"""Filter in front of the application: hosts, origins, tokens, sizes, headers, log lines."""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import anyio
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clsa_search.desk.http_errors import LOG, ErrorResponse
from clsa_search.desk.tokens import Keyring
from clsa_search.wording import to_printable

MAX_IMAGE_BYTES = 20 << 20
MAX_JSON_BYTES = 1 << 20
MAX_REQUESTS = 100  # at a time
MAX_IMAGES = 8  # bodies with images at a time
BODY_SECONDS = 60.0

_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::\d{1,5})?")
_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_OPEN = ("/", "/healthz", "/session", "/favicon.ico")  # without a token
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob:; media-src 'self'; manifest-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Refusal(Exception):
    """A refused request.

    Args:
        status: HTTP status.
        reason: message for the client.
    """

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


class Gatekeeper:
    """ASGI middleware in front of the desk: it refuses all needless requests.

    It refuses foreign hosts (another name for this address) and origins (another page in the same
    browser), requests without a token where there is one, bodies that are neither JSON nor an
    image, large and slow bodies, and too many requests at a time. Every refused or failed request
    is one line of the log. Headers of each answer keep browsers strict.

    Args:
        app: guarded application.
        hosts: accepted names of the server; None accepts all.
        origins: accepted origins besides the server's own, such as a proxy's.
        keyring: checks tokens; None lets everybody in.
        count: called with method, route and status of each answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str] | None,
        origins: Collection[str],
        keyring: Keyring | None,
        count: Callable[[str, str, int], None],
    ) -> None:
        self.app = app
        self._hosts = hosts
        self._origins = origins
        self._keyring = keyring
        self._count = count
        self._num_requests = self._num_images = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        send = self._watch(scope, send)
        try:
            with self._counted():
                request = Request(scope)
                self._check_head(request)
                if request.method in _WRITES:
                    await self._pass_with_body(request, receive, send)
                else:
                    await self.app(scope, receive, send)
        except Refusal as refusal:
            scope["desk_reason"] = str(refusal)
            await ErrorResponse(refusal.status, str(refusal))(scope, receive, send)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._num_requests >= MAX_REQUESTS:
            raise Refusal(429, "too many requests at a time; expected a new try in some seconds")
        self._num_requests += 1
        try:
            yield
        finally:
            self._num_requests -= 1

    def _check_head(self, request: Request) -> None:
        """Check host, origin and token.

        Raises:
            Refusal: one of them is not accepted.
        """
        headers, path = request.headers, request.scope["path"]
        host, origin = headers.get("host", ""), headers.get("origin")
        found = _HOST.fullmatch(host)
        if not found:
            raise Refusal(400, "host: is no host name; expected that of this server")
        if self._hosts is not None and found[1].strip("[]").lower() not in self._hosts:
            raise Refusal(403, "host: is not a name of this server; expected --public-url for it")
        own = f"{request.scope['scheme']}://{host}".lower()
        if origin is not None and origin.lower() not in (own, *self._origins):
            raise Refusal(403, "origin: requests of other pages are refused")
        is_open = path in _OPEN or path.startswith("/static/")
        if not is_open and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Refusal(403, "origin: requests of other pages are refused")
        if self._keyring is None or is_open:
            return
        if not self._keyring.allows(headers.get("authorization", ""), request.cookies):
            raise Refusal(401, "token: is missing or wrong; expected Authorization: Bearer TOKEN")

    async def _pass_with_body(self, request: Request, receive: Receive, send: Send) -> None:
        """Read the whole body within its bounds, and pass it on.

        Raises:
            Refusal: the body has another type, is too large, or comes too slowly.
        """
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        is_image = kind.startswith("image/")
        if not is_image and kind != "application/json" and _has_body(request):
            raise Refusal(415, f"content-type: {kind[:50] or 'none'}; expected application/json")
        if is_image and self._num_images >= MAX_IMAGES:
            raise Refusal(429, "too many images at a time; expected a new try in some seconds")
        self._num_images += is_image
        try:
            body = await _read_body(request, receive, is_image)
            await self.app(request.scope, _replay(body, receive), send)
        finally:
            self._num_images -= is_image

    def _watch(self, scope: Scope, send: Send) -> Send:
        """Return a sender with headers for the answer, a count, and a log line for a fault."""

        async def send_watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                self._count(scope["method"], _name_route(scope), message["status"])
                if message["status"] >= 400:
                    _log(scope, message["status"])
            await send(message)

        return send_watched


def _name_route(scope: Scope) -> str:
    """Return the template of an address: ids and unknown addresses are not told apart."""
    route = getattr(scope.get("route"), "path", None)
    return route or ("/static" if scope["path"].startswith("/static/") else "other")


def _has_body(request: Request) -> bool:
    """Return whether a write says something; a DELETE need not."""
    headers = request.headers
    length = headers.get("content-length", "0")
    return request.method != "DELETE" or length != "0" or "transfer-encoding" in headers


async def _read_body(request: Request, receive: Receive, is_image: bool) -> bytes:
    limit = MAX_IMAGE_BYTES if is_image else MAX_JSON_BYTES
    too_large = Refusal(413, f"body: is too large; expected at most {limit >> 20} MB")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and (len(length) > 12 or int(length) > limit):
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        with anyio.fail_after(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Refusal(400, "body: ended early; expected all of it")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise too_large
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError as error:
        reason = f"body: took more than {BODY_SECONDS:g} s; expected it faster"
        raise Refusal(408, reason) from error


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receiver with the body once more, for the guarded application."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again


def _log(scope: Scope, status: int) -> None:
    client = (scope.get("client") or ("unknown", 0))[0]
    path = to_printable(scope["path"])[:200]
    reason = scope.get("desk_reason", "")
    LOG.warning("%s %s %s from %s: %s", status, scope["method"], path, client, reason)
