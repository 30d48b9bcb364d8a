"""A Milvus server: its addresses, the connection to it, its errors."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clsa_search.errors import InputError, missing_gallery

if TYPE_CHECKING:
    from pymilvus import MilvusClient

SCHEMES = ("http", "https", "milvus-lite")
TOKEN_VARIABLE = "MILVUS_TOKEN"
_LOGGERS = "pymilvus", "milvus_lite", "grpc._server"  # log tracebacks of errors they also raise
_CONNECT_SECONDS = 10.0
# pymilvus pings every ten seconds. A server with gRPC's default limit, such as milvus-lite, closes
# connections with more than one ping in five minutes of silence.
_CHANNEL = {"grpc.keepalive_time_ms": 330_000, "grpc.keepalive_permit_without_calls": False}


def connect(address: str, *, create: bool) -> tuple["MilvusClient", str]:
    """Connect to a server, or start milvus-lite.

    Args:
        address: see `MilvusStore`.
        create: start a new file of milvus-lite if it is missing.

    Returns:
        The client and the name of the gallery.

    Raises:
        InputError: the address is malformed, pymilvus is not installed, or no server answers.
    """
    uri, gallery = _parse_address(address)
    is_file = not uri.startswith("http")
    try:
        from pymilvus import MilvusClient

        if is_file:
            import milvus_lite  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{address}: {error}; expected the packages of pip install 'clsa_search[milvus]'"
        ) from error
    if is_file:
        _prepare_file(address, Path(uri), create)
    for name in _LOGGERS if is_file else _LOGGERS[:1]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with reported(address, "connect"):
        token = os.environ.get(TOKEN_VARIABLE, "")
        client = MilvusClient(uri, token=token, timeout=_CONNECT_SECONDS, grpc_options=_CHANNEL)
        return client, gallery


@contextmanager
def reported(address: str, action: str) -> Iterator[None]:
    """Raise errors of Milvus as InputError."""
    from grpc import RpcError
    from pymilvus import MilvusException

    try:
        yield
    except (MilvusException, RpcError, UnicodeEncodeError) as error:
        raise InputError(
            f"{address}: cannot {action}: {error}; expected a Milvus server that answers, or a "
            "milvus-lite file without another process; data stored before is kept"
        ) from error


def _parse_address(address: str) -> tuple[str, str]:
    """Return the URI of pymilvus and the name of the gallery."""
    scheme, _, rest = address.partition("://")
    if scheme == "milvus-lite":
        path, gallery = rest, "gallery"
        is_right = path.endswith(".db")
    else:
        host, _, gallery = rest.partition("/")
        if "@" in host:
            raise InputError(
                f"{scheme}://...@{host.rpartition('@')[2]}: holds a password; "
                f"expected it in the environment's {TOKEN_VARIABLE}, as user:password or a token"
            )
        gallery = gallery.strip("/") or "gallery"
        path = f"{scheme}://{host}"
        is_right = _is_host(path)
    if not is_right or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,199}", gallery):
        raise InputError(
            f"{address}: expected http://HOST:PORT/GALLERY, https://HOST:PORT/GALLERY or "
            "milvus-lite://FILE.db, GALLERY of letters, digits and _"
        )
    return path, gallery


def _is_host(uri: str) -> bool:
    """Return whether a URI is a host, with or without a port, and nothing else."""
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:  # of the port, or of an IPv6 address
        return False


def _prepare_file(address: str, path: Path, create: bool) -> None:
    """Refuse a missing file; milvus-lite would create it."""
    if not create and not path.exists():
        raise missing_gallery(address)
    path.parent.mkdir(parents=True, exist_ok=True)
