"""The file of the embedded engine: opening and transactions.

WAL lets processes read while one writes; synchronous=FULL makes a commit wait for the disk.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from clsa_search.errors import InputError
from clsa_search.gallery.sqlite_connection import WAIT_SECONDS, connect, read_state, reported
from clsa_search.gallery.sqlite_schema import (
    APPLICATION_ID,
    OLDEST_VERSION,
    SCHEMA,
    SCHEMA_VERSION,
    upgrade,
)

T = TypeVar("T")
_PAGE_BYTES = 32768  # several embeddings in each, none across two


class SQLiteFile:
    """A connection to the file of a gallery; threads may share it.

    A gallery on a read-only disk can be read, unless changes of it are not in the file yet.

    Args:
        path: path of the file.
        create_for: hash of the weights of a new gallery, if the file is missing; None opens only.
        about: notes of a new gallery, see `open_store`.

    Raises:
        InputError: the file is missing and cannot be created, or it is not a gallery of this
            version.
    """

    def __init__(self, path: Path, *, create_for: str | None, about: Mapping[str, str]) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._writes = 0
        self._is_writing = False
        self._known: dict[str, Any] = {}  # values of the state `_known_state` of the file
        self._known_state: tuple[int, int] | None = None
        self.connection, access = connect(path, create=create_for is not None)
        self._is_read_only = access in ("ro", "immutable")
        try:
            with reported(path, "open"):
                self._immutable = read_state(path) if access == "immutable" else None
                self._prepare(create_for, about)
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close the file when no other thread uses it."""
        with self._lock:
            self.connection.close()

    def select(self, query: str, *values: object) -> list[tuple]:
        """Return the rows of `SELECT query`."""
        with self.reading():
            return self.connection.execute(f"SELECT {query}", values).fetchall()

    def execute(self, statement: str, *values: object) -> int:
        """Execute a statement; return the number of changed rows."""
        return self.connection.execute(statement, values).rowcount

    def execute_many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Execute a statement for each row of values."""
        self.connection.executemany(statement, rows)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read one state of the file in the block, whatever other processes write."""
        with self._lock, reported(self.path, "read"):
            if self.connection.in_transaction:  # of this thread, as it holds the lock
                yield
                return
            with self._transaction("DEFERRED"):
                yield
            if self._immutable and read_state(self.path) != self._immutable:
                raise InputError(
                    f"{self.path}: another process has changed it since it was opened without "
                    "permission to write; open it again"
                )

    @contextmanager
    def writing(self, action: str, *, patience: float = WAIT_SECONDS) -> Iterator[None]:
        """Write all changes of the block, or none.

        Args:
            action: verb for messages.
            patience: seconds to wait for the transactions of other processes.
        """
        with self._lock, reported(self.path, action):
            self._wait(patience)
            self._is_writing = True
            try:
                with self._transaction("IMMEDIATE"):
                    yield
            finally:
                self._is_writing = False
            self._wait(WAIT_SECONDS)
            self._writes += 1

    def read_version(self) -> tuple[int, int]:
        """Return a version of the file; every change by any process changes it."""
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        return version, self._writes

    def remember(self, name: str, read: Callable[[], T]) -> T:
        """Return what a function reads; in one state of the file it is called once.

        Args:
            name: name of the value.
            read: reads the value, within a transaction.
        """
        with self.reading():
            if self._is_writing:  # the state has no version yet
                return read()
            state = self.read_version()
            if state != self._known_state:
                self._known, self._known_state = {}, state
            if name not in self._known:
                self._known[name] = read()
            return self._known[name]

    def scrub(self, *, vacuum: bool) -> bool:
        """Empty the log of changes, which holds deleted bytes; see `UpkeepStore`."""
        with self._lock, reported(self.path, "scrub"):
            if vacuum:
                self.connection.execute("VACUUM")
            (busy, *_) = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def _wait(self, seconds: float) -> None:
        self.connection.execute(f"PRAGMA busy_timeout = {round(1000 * seconds)}")

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        self.connection.execute(f"BEGIN {kind}")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # a full disk may have ended it
                self.connection.execute("ROLLBACK")
            raise

    def _prepare(self, create_for: str | None, about: Mapping[str, str]) -> None:
        execute = self.connection.execute
        execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file only
        with self._transaction("DEFERRED" if create_for is None else "IMMEDIATE"):
            (tables,) = execute("SELECT count(*) FROM sqlite_master").fetchone()
            if create_for is not None and not tables:
                self._create(create_for, about)
            version = self._check_version()
        if self._is_read_only:
            return
        (journal,) = execute("PRAGMA journal_mode = WAL").fetchone()
        if journal != "wal":
            raise InputError(
                f"{self.path}: is on a disk without shared access for SQLite; expected a local disk"
            )
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA secure_delete = ON")  # deleted bytes are overwritten
        if version < SCHEMA_VERSION:
            with self._transaction("IMMEDIATE"):
                version = self._check_version()
                if version < SCHEMA_VERSION:  # else another process was first
                    upgrade(self.connection, version)

    def _create(self, weights: str, about: Mapping[str, str]) -> None:
        for statement in SCHEMA.split(";"):
            self.connection.execute(statement)
        values = weights, json.dumps(dict(about))
        self.connection.execute("INSERT INTO gallery VALUES (?, ?, NULL, 1)", values)
        self.connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _check_version(self) -> int:
        """Return the version; refuse other files and unknown versions."""
        (application,) = self.connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise InputError(f"{self.path}: is not a gallery; expected one made by this program")
        (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        if OLDEST_VERSION <= version < SCHEMA_VERSION and self._is_read_only:
            raise InputError(
                f"{self.path}: is a gallery of version {version}; expected to be opened once where "
                f"it can be written, to become version {SCHEMA_VERSION}"
            )
        if not OLDEST_VERSION <= version <= SCHEMA_VERSION:
            raise InputError(
                f"{self.path}: is a gallery of version {version}; expected version "
                f"{SCHEMA_VERSION}: index again with this program, or use the program that made it"
            )
        return version
