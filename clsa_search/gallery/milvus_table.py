"""A Milvus server: its addresses, the connection, collections and their errors.

Text never enters a condition: columns of keys stand for it, so there is nothing to quote.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from clsa_search.errors import InputError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

SCHEMES = ("http", "https", "milvus-lite")
TOKEN_VARIABLE = "MILVUS_TOKEN"
MAX_ROWS = 16384  # that a server gives back at once
MAX_TEXT = 65535  # bytes of a text
_TALKERS = "pymilvus", "milvus_lite", "grpc._server"  # log tracebacks of what they also raise
_CONNECT_SECONDS = 10.0
_WAIT_SECONDS = 60.0  # for a busy server
# pymilvus pings every ten seconds; a server that keeps to gRPC's own rule, as milvus-lite does,
# cuts off who pings more than once in five minutes of silence
_CHANNEL = {"grpc.keepalive_time_ms": 330_000, "grpc.keepalive_permit_without_calls": False}


class Field(NamedTuple):
    """A column; `type` is a name of pymilvus' DataType."""

    name: str
    type: str
    options: dict[str, Any] = {}


def text_field(name: str, **options: Any) -> Field:
    """A column of texts as long as a server allows."""
    return Field(name, "VARCHAR", {"max_length": MAX_TEXT, **options})


def make_key(text: str) -> int:
    """A positive number of 63 bits that stands for a text."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1 or 1


def connect(address: str, *, create: bool) -> tuple["MilvusClient", str]:
    """Connect to a server, or start milvus-lite.

    Args:
        address: see `MilvusStore`.
        create: start a new file of milvus-lite where there is none.

    Returns:
        The client, and the gallery's name.

    Raises:
        InputError: the address is malformed, pymilvus is not installed or no server answers.
    """
    uri, gallery = _parse_address(address)
    is_file = not uri.startswith("http")
    try:
        from pymilvus import MilvusClient

        if is_file:
            import milvus_lite  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{address}: {error}; expected what pip install 'clsa_search[milvus]' installs"
        ) from error
    if is_file:
        _prepare_file(address, Path(uri), create)
    for name in _TALKERS if is_file else _TALKERS[:1]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with reported(address, "connect"):
        token = os.environ.get(TOKEN_VARIABLE, "")
        client = MilvusClient(uri, token=token, timeout=_CONNECT_SECONDS, grpc_options=_CHANNEL)
        return client, gallery


@contextmanager
def reported(address: str, action: str) -> Iterator[None]:
    """Milvus' errors as InputError."""
    from grpc import RpcError
    from pymilvus import MilvusException

    try:
        yield
    except (MilvusException, RpcError, UnicodeEncodeError) as error:
        raise InputError(
            f"{address}: cannot {action}: {error}; expected a Milvus server that answers, or a "
            "file of milvus-lite that no other process has open; what was stored before is kept"
        ) from error


class Table:
    """A collection; every call sees what was written before it, by whomever.

    Errors of the server are raised as InputError.
    """

    def __init__(self, client: "MilvusClient", address: str, name: str) -> None:
        self.address = address
        self._client = client
        self._name = name

    def exists(self) -> bool:
        return self._call("read", "has_collection")

    def open(self, fields: Sequence[Field] = ()) -> None:
        """Make it ready; also what a killed process left half made.

        Args:
            fields: to create it of, where there is none: one of them a vector.
        """
        if fields and not self.exists():
            try:
                self._create(fields)
            except InputError:
                if not self.exists():  # else another process was quicker
                    raise
        if not self._call("read", "list_indexes"):
            index = self._client.prepare_index_params()
            # exact; of other kinds a server makes approximate ones of its own meanwhile
            index.add_index(self._vector()["name"], index_type="FLAT", metric_type="IP")
            try:
                self._call("create", "create_index", index, sync=False)  # of nothing: soon done
            except InputError:
                if not self._call("read", "list_indexes"):  # else somebody was quicker
                    raise
        with reported(self.address, "read"):
            self._client.load_collection(self._name)  # takes long where much is stored

    def width(self) -> int:
        """Of the vectors."""
        return int(self._vector()["params"]["dim"])

    def insert(self, rows: list[dict]) -> list[int]:
        """Add rows; gives the keys that the server made for them."""
        with reported(self.address, "add"):
            # a second try after an answer that got lost would store them twice
            answer = self._client.insert(self._name, rows, retry_times=0)
        return list(answer["ids"])

    def upsert(self, rows: list[dict]) -> None:
        """Replace the rows with these keys."""
        self._call("add", "upsert", rows)

    def delete(self, condition: str) -> None:
        self._call("delete", "delete", filter=condition)

    def count(self, condition: str = "") -> int:
        found = self._call("read", "query", filter=condition, output_fields=["count(*)"])
        return found[0]["count(*)"]

    def query(self, condition: str, fields: Sequence[str] = ("*",)) -> list[dict]:
        """Rows in any order."""
        return list(self._call("read", "query", filter=condition, output_fields=list(fields)))

    def scan(self, key: str, after: int, limit: int, fields: Sequence[str] = ("*",)) -> list[dict]:
        """The first rows whose key is higher than `after`, in the order of keys."""
        options = {"batch_size": limit, "limit": limit, "output_fields": list(fields)}
        with reported(self.address, "read"):  # a plain query with a limit gives any rows
            rows = self._client.query_iterator(
                self._name, filter=f"{key} > {after}", timeout=_WAIT_SECONDS, **options
            )
            try:
                return list(rows.next())
            finally:
                rows.close()

    def search(
        self, queries: np.ndarray, limit: int, condition: str, fields: Sequence[str]
    ) -> list[Any]:
        """Hits of each query (Q, D), best first."""
        options = {"data": list(queries), "limit": limit, "output_fields": list(fields)}
        return list(self._call("search", "search", filter=condition, **options))

    def _create(self, fields: Sequence[Field]) -> None:
        from pymilvus import DataType

        schema = self._client.create_schema(enable_dynamic_field=False)
        for field in fields:
            schema.add_field(field.name, DataType[field.type], **field.options)
        self._call("create", "create_collection", schema=schema, consistency_level="Strong")

    def _vector(self) -> dict:
        fields = self._call("read", "describe_collection")["fields"]
        return next(field for field in fields if "dim" in field["params"])

    def _call(self, action: str, method: str, *arguments: object, **options: Any) -> Any:
        with reported(self.address, action):
            call = getattr(self._client, method)
            return call(self._name, *arguments, timeout=_WAIT_SECONDS, **options)


def _parse_address(address: str) -> tuple[str, str]:
    """What pymilvus calls a URI, and the gallery's name."""
    scheme, _, rest = address.partition("://")
    if scheme == "milvus-lite":
        path, gallery = rest, "gallery"
        is_right = path.endswith(".db")
    else:
        parts = urlsplit(address)
        if "@" in parts.netloc:
            raise InputError(
                f"{scheme}://...@{parts.netloc.rpartition('@')[2]}: holds a password; "
                f"expected it in the environment's {TOKEN_VARIABLE}, as user:password or a token"
            )
        gallery = parts.path.strip("/") or "gallery"
        path = f"{scheme}://{parts.netloc}"
        is_right = bool(parts.netloc) and not parts.query and not parts.fragment
    if not is_right or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,199}", gallery):
        raise InputError(
            f"{address}: expected http://HOST:PORT/GALLERY, https://HOST:PORT/GALLERY or "
            "milvus-lite://FILE.db, GALLERY of letters, digits and _"
        )
    return path, gallery


def _prepare_file(address: str, path: Path, create: bool) -> None:
    """Starting milvus-lite on a file that is not there would make it."""
    if not create and not path.exists():
        raise InputError(
            f"{address}: there is no gallery; expected one, or to be asked to create it"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
