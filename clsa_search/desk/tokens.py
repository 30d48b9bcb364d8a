"""The token of a desk: its file, and the sessions of browsers."""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from clsa_search.errors import InputError

SESSION_SECONDS = 12 * 3600
_MIN_CHARACTERS = 16


class Keyring:
    """Checks tokens and sessions; a session holds until its end or a new token.

    Args:
        token: secret of the desk.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        # two desks of one host have different cookies
        self.cookie = f"clsa_{hashlib.sha256(self._token).hexdigest()[:8]}"

    def knows(self, token: str) -> bool:
        """Return whether a token is the right one."""
        return hmac.compare_digest(token.encode(errors="replace"), self._token)

    def start_session(self) -> str:
        """Return the value of a new session's cookie."""
        end = str(int(time.time()) + SESSION_SECONDS)
        return f"{end}.{self._sign(end)}"

    def allows(self, authorization: str, cookies: Mapping[str, str]) -> bool:
        """Return whether a request shows the token or a session.

        Args:
            authorization: header of this name, or "".
            cookies: cookies of the request.
        """
        kind, _, token = authorization.partition(" ")
        if kind.lower() == "bearer" and self.knows(token.strip()):
            return True
        end, _, signature = cookies.get(self.cookie, "").partition(".")
        if not (end.isascii() and end.isdigit() and len(end) < 20):
            return False
        is_signed = hmac.compare_digest(
            signature.encode(errors="replace"), self._sign(end).encode()
        )
        return is_signed and time.time() < int(end)

    def _sign(self, end: str) -> str:
        return hmac.new(self._token, f"session until {end}".encode(), hashlib.sha256).hexdigest()


def read_token(path: str | os.PathLike) -> tuple[str, bool]:
    """Read the token of a file, made for this user only if it does not exist.

    Returns:
        The token, and whether it is new.

    Raises:
        InputError: the file cannot be read or made, or holds no token of 16 characters or more.
    """
    path = Path(path)
    try:
        if is_new := not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: {reason}; expected a file for the token") from error
    if len(token) < _MIN_CHARACTERS or not token.isprintable() or " " in token:
        raise InputError(
            f"{path}: holds {len(token)} characters; expected a token of {_MIN_CHARACTERS} or more "
            "without spaces, or no file: one is made"
        )
    return token, is_new
