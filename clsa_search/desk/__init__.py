"""Search desk: the HTTP API and the page to search a gallery with.

It needs FastAPI and uvicorn, optional dependencies: install `clsa_search[page]`.
"""

from clsa_search.errors import InputError

try:
    from clsa_search.desk.application import build_app
    from clsa_search.desk.search_desk import SearchDesk
    from clsa_search.desk.server import serve, serving
except ModuleNotFoundError as error:
    name = (error.name or "").split(".")[0]
    if name not in ("fastapi", "pydantic", "starlette", "uvicorn"):
        raise
    raise InputError(
        f"{name}: is not installed, and the page needs it; expected: "
        "pip install 'clsa_search[page]'"
    ) from error

__all__ = ["SearchDesk", "build_app", "serve", "serving"]
