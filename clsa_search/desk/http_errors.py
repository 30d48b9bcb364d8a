"""Errors of the HTTP API: one form in JSON, and never a traceback for an input."""

import json
import logging
import re
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from clsa_search.errors import InputError
from clsa_search.wording import show_value, to_printable

LOG = logging.getLogger("clsa_search.desk")

_CODES = {
    400: "bad_request",
    401: "sign_in",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    411: "length_required",
    413: "too_large",
    415: "unsupported_type",
    416: "bad_range",
    422: "bad_input",
    429: "busy",
    503: "unavailable",
}
_DETAILS = {  # words of the framework, in those of the API
    "There was an error parsing the body": "body: is no JSON that can be read; expected an object",
    "Not Found": "nothing is at this address; expected one of /api/docs",
    "Method Not Allowed": "this address has no such method; expected one of /api/docs",
}
_EXPECTED = (  # of pydantic's messages
    (re.compile(r"^(?:Value error, |Input should be )"), "expected "),
    (re.compile(r"^\w+ should have "), "expected "),
    (re.compile(r"^String should match pattern "), "expected a text of the form "),
    (re.compile(r" after validation, not .*$"), ""),
    (re.compile(r"^Field required$"), "expected a value"),
    (re.compile(r"^Extra inputs are not permitted$"), "expected no such field"),
)
_FIELD = re.compile(r"[a-z_]+(?:\[\d+\])?(?=: )")
_MAX_REASON = 1000  # characters of a message


class NotFound(InputError):
    """The address or the id of the request leads to nothing."""


class Conflict(InputError):
    """The gallery is not as the request takes it to be."""


class Busy(InputError):
    """Too many requests wait already."""


class ErrorResponse(Response):
    """The answer to a wrong request, {"error": {"code", "message", "field"}}.

    Args:
        status: HTTP status.
        message: the fault and the expected value.
        field: field of the request with the fault, if it is one field.
    """

    media_type = "application/json"

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        self.reason = to_printable(message)[:_MAX_REASON]
        code = _CODES.get(status, "internal" if status >= 500 else "bad_request")
        error = {"code": code, "message": self.reason, "field": field}
        super().__init__(
            json.dumps({"error": error}), status, {"retry-after": "2"} if status == 429 else None
        )


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of a request in the one form."""
    app.add_exception_handler(InputError, _answer_input_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    for kind in (OSError, MemoryError):  # a full disk, a file that is gone between two looks
        app.add_exception_handler(kind, _answer_system_error)


def _answer_input_error(request: Request, error: Exception) -> Response:
    statuses: dict[type, int] = {NotFound: 404, Conflict: 409, Busy: 429}
    message = str(error)
    found = _FIELD.match(message)
    status = statuses.get(type(error), 422)
    return _note(request, ErrorResponse(status, message, found[0] if found else None))


def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    field = _name_field(first.get("loc", ()))
    is_missing = first["type"] == "missing" and field is None
    if first["type"] == "json_invalid" or is_missing:
        fault = "is missing" if is_missing else "is no JSON"
        return _note(request, ErrorResponse(422, f"body: {fault}; expected an object"))
    given = "is missing" if first["type"] == "missing" else show_value(first.get("input"))
    expected = first["msg"]
    for pattern, words in _EXPECTED:
        expected = pattern.sub(words, expected)
    message = f"{field or 'body'}: {given[:200]}; {expected}"
    return _note(request, ErrorResponse(422, message, field))


def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    return _note(request, ErrorResponse(error.status_code, _DETAILS.get(detail, detail)))


def _answer_system_error(request: Request, error: Exception) -> Response:
    reason = getattr(error, "strerror", None) or "out of memory"
    message = f"the server cannot do this now: {reason}; expected free memory and disk space"
    return _note(request, ErrorResponse(503, message))


def _note(request: Request, response: ErrorResponse) -> Response:
    """Leave the reason for the log line of the request."""
    request.scope["desk_reason"] = response.reason
    return response


def _name_field(place: Sequence[str | int]) -> str | None:
    """Return the place of a value as "of[0].box"; None for the whole body."""
    name = ""
    for part in place[1:]:  # the first part is "body", "query" or "path"
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name or None
