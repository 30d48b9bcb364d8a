"""A collection of a Milvus server, used as a table.

Text never enters a condition: columns of keys stand for it, so no text needs quotes.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery.milvus_server import reported

if TYPE_CHECKING:
    from pymilvus import MilvusClient

MAX_ROWS = 16384  # of one answer
MAX_TEXT = 65535  # bytes of a text
_WAIT_SECONDS = 60.0  # for a busy server


class Field(NamedTuple):
    """A column of a table.

    Args:
        name: name of the column.
        type: name of a DataType of pymilvus.
        options: options of the column.
    """

    name: str
    type: str
    options: dict[str, Any] = {}


def text_field(name: str, **options: Any) -> Field:
    """Return a column of texts of the largest length."""
    return Field(name, "VARCHAR", {"max_length": MAX_TEXT, **options})


def make_key(text: str) -> int:
    """Return a positive number of 63 bits for a text."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1 or 1


class Table:
    """A collection; every call sees all earlier writes of all processes.

    Errors of the server are raised as InputError.

    Args:
        client: connection to the server.
        address: address of the gallery, for messages.
        name: name of the collection.
    """

    def __init__(self, client: "MilvusClient", address: str, name: str) -> None:
        self.address = address
        self._client = client
        self._name = name

    def exists(self) -> bool:
        """Return whether the collection exists."""
        return self._call("read", "has_collection")

    def open(self, fields: Sequence[Field] = ()) -> None:
        """Create or load the collection; complete a half made one of a killed process.

        Args:
            fields: columns of a new collection, one of them a vector.
        """
        if fields and not self.exists():
            try:
                self.create(fields)
            except InputError:
                if not self.exists():  # else another process was first
                    raise
        if not self._call("read", "list_indexes"):
            index = self._client.prepare_index_params()
            # FLAT is exact; beside other kinds a server builds approximate interim indexes
            index.add_index(self._vector()["name"], index_type="FLAT", metric_type="IP")
            try:
                self._call("create", "create_index", index, sync=False)  # of an empty table: quick
            except InputError:
                if not self._call("read", "list_indexes"):  # else another process was first
                    raise
        with reported(self.address, "read"):
            self._client.load_collection(self._name)  # takes long for a large collection

    def create(self, fields: Sequence[Field]) -> None:
        """Create the collection without an index."""
        from pymilvus import DataType

        schema = self._client.create_schema(enable_dynamic_field=False)
        for field in fields:
            schema.add_field(field.name, DataType[field.type], **field.options)
        self._call("create", "create_collection", schema=schema, consistency_level="Strong")

    def vector_width(self) -> int:
        """Return the width of the vectors."""
        return int(self._vector()["params"]["dim"])

    def gives_ids(self) -> bool:
        """Return whether the server chooses the keys."""
        fields = self._call("read", "describe_collection")["fields"]
        return any(field.get("auto_id") for field in fields)

    def insert(self, rows: list[dict]) -> list[int]:
        """Insert rows; return their keys."""
        with reported(self.address, "add"):
            # a second try after a lost answer would insert them twice
            answer = self._client.insert(self._name, rows, retry_times=0)
        return list(answer["ids"])

    def upsert(self, rows: list[dict]) -> None:
        """Insert rows and replace those with the same keys."""
        self._call("add", "upsert", rows)

    def delete(self, condition: str) -> None:
        """Delete the rows of a condition."""
        self._call("delete", "delete", filter=condition)

    def count(self, condition: str = "") -> int:
        """Return the number of rows of a condition."""
        found = self._call("read", "query", filter=condition, output_fields=["count(*)"])
        return found[0]["count(*)"]

    def query(self, condition: str, fields: Sequence[str] = ("*",)) -> list[dict]:
        """Return the rows of a condition, in any order."""
        return list(self._call("read", "query", filter=condition, output_fields=list(fields)))

    def scan(
        self,
        key: str,
        after: int,
        limit: int,
        fields: Sequence[str] = ("*",),
        condition: str = "",
    ) -> list[dict]:
        """Return the next rows in the order of keys.

        Args:
            key: name of the key column.
            after: last key of the previous call.
            limit: largest number of rows.
            fields: columns to return.
            condition: further condition.
        """
        options = {"batch_size": limit, "limit": limit, "output_fields": list(fields)}
        condition = join_conditions(f"{key} > {after}", condition)
        with reported(self.address, "read"):  # a plain query with a limit returns any rows
            rows = self._client.query_iterator(
                self._name, filter=condition, timeout=_WAIT_SECONDS, **options
            )
            try:
                return list(rows.next())
            finally:
                rows.close()

    def search(
        self, queries: np.ndarray, limit: int, condition: str, fields: Sequence[str]
    ) -> list[Any]:
        """Return the hits of each query (Q, D), most similar first."""
        options = {"data": list(queries), "limit": limit, "output_fields": list(fields)}
        return list(self._call("search", "search", filter=condition, **options))

    def compact(self) -> None:
        """Ask the server to write the collection without deleted rows; it does so later."""
        self._call("delete", "flush")
        self._call("delete", "compact")

    def _vector(self) -> dict:
        fields = self._call("read", "describe_collection")["fields"]
        return next(field for field in fields if "dim" in field["params"])

    def _call(self, action: str, method: str, *arguments: object, **options: Any) -> Any:
        with reported(self.address, action):
            call = getattr(self._client, method)
            return call(self._name, *arguments, timeout=_WAIT_SECONDS, **options)


def join_conditions(*conditions: str) -> str:
    """Join conditions by "and"; drop empty ones."""
    return " and ".join(filter(None, conditions))
