"""Answers with a file, whole or in ranges; a wrong range is answered like all errors."""

from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from clsa_search.desk.http_errors import ErrorResponse


class MediaResponse(FileResponse):
    """A file whose refused ranges have the form of all errors."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or say why the range is refused."""
        refused: list[Message] = []

        async def send_file(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refused.append(message)
            if not refused:
                await send(message)

        await super().__call__(scope, receive, send_file)
        if not refused:
            return
        size = "" if self.stat_result is None else f" of a file of {self.stat_result.st_size} bytes"
        response = ErrorResponse(
            refused[0]["status"], f"range: is none{size}; expected bytes=FIRST-LAST", "range"
        )
        if refused[0]["status"] == 416 and self.stat_result is not None:
            response.headers["content-range"] = f"bytes */{self.stat_result.st_size}"
        scope["desk_reason"] = response.reason
        await response(scope, receive, send)
