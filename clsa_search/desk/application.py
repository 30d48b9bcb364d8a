"""The application: API, page, sessions and their guard."""

import threading
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated

from anyio import to_thread
from fastapi import Body, FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from clsa_search import __version__
from clsa_search.desk import drawing_routes, job_routes, upkeep_routes, verdict_routes
from clsa_search.desk.api_models import ErrorAnswer
from clsa_search.desk.api_page import write_api_page
from clsa_search.desk.gatekeeper import Gatekeeper
from clsa_search.desk.http_errors import ErrorResponse, add_error_handlers
from clsa_search.desk.routes import router
from clsa_search.desk.search_desk import SearchDesk
from clsa_search.desk.tokens import SESSION_SECONDS, Keyring
from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore

_DESCRIPTION = """
Search a gallery of people by appearance. Each error is {"error": {"code", "message", "field"}}.
With a token, requests carry `Authorization: Bearer TOKEN`. Writes take JSON or an image as body.
"""


def build_app(
    desk: SearchDesk,
    *,
    hosts: Collection[str] | None = ("localhost", "127.0.0.1", "::1"),
    origins: Collection[str] = (),
    keyring: Keyring | None = None,
) -> ASGIApp:
    """Build the application of a desk, for any ASGI server.

    Args:
        desk: the desk; the application closes it at its end.
        hosts: accepted names of the server; None accepts all.
        origins: accepted origins besides the server's own, such as a proxy's.
        keyring: checks tokens; None lets everybody in.
    """
    app = FastAPI(
        title="clsa-search",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page would load scripts from other servers
        redoc_url=None,
        lifespan=_close_at_the_end,
        responses={422: {"model": ErrorAnswer}},
        # a missing slash is no redirect: a Host header could choose its target
        redirect_slashes=False,
    )
    app.state.desk = desk
    add_error_handlers(app)
    app.include_router(router)
    app.include_router(drawing_routes.router)
    app.include_router(upkeep_routes.router)
    app.include_router(job_routes.router)
    app.include_router(verdict_routes.router)
    _add_pages(app)
    _add_sessions(app, keyring, any(one.startswith("https:") for one in origins))
    return Gatekeeper(
        app, hosts=hosts, origins=origins, keyring=keyring, count=desk.metrics.count_request
    )


@asynccontextmanager
async def _close_at_the_end(app: FastAPI) -> AsyncIterator[None]:
    desk: SearchDesk = app.state.desk
    threading.Thread(target=_preload, args=(desk.store,), daemon=True).start()
    yield
    await to_thread.run_sync(desk.close)


def _preload(store: GalleryStore) -> None:
    """Load the embeddings of sightings: the first user need not wait for them."""
    try:
        store.preload()
    except InputError:
        pass  # the user's search reports it


def _add_pages(app: FastAPI) -> None:
    folder = files("clsa_search.desk")
    page = (folder / "desk.html").read_text(encoding="utf-8")

    @app.get("/", include_in_schema=False)
    def show_page() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/api/docs", include_in_schema=False)
    def show_api_page() -> HTMLResponse:
        return HTMLResponse(write_api_page(app.openapi()))

    @app.get("/healthz")
    def check_health() -> dict[str, str]:
        """Answer, as a sign of life."""
        return {"status": "ok"}

    app.mount("/static", StaticFiles(directory=str(folder / "static")))


def _add_sessions(app: FastAPI, keyring: Keyring | None, is_https: bool) -> None:
    @app.post("/session", status_code=204)
    def start_session(
        request: Request, token: Annotated[str, Body(embed=True, max_length=1000)]
    ) -> Response:
        """Start a session of a browser with the token; it gets a cookie."""
        if keyring is None:
            return Response(status_code=204)
        if not keyring.knows(token):
            request.scope["desk_reason"] = "token: is wrong"
            return ErrorResponse(401, "token: is wrong; expected the one of --token-file", "token")
        response = Response(status_code=204)
        response.set_cookie(
            keyring.cookie,
            keyring.start_session(),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=is_https,
        )
        return response

    @app.delete("/session", status_code=204)
    def end_session() -> Response:
        """End the session of this browser."""
        response = Response(status_code=204)
        if keyring is not None:
            response.delete_cookie(keyring.cookie, httponly=True, samesite="strict")
        return response
