"""The file of the embedded engine: opening, transactions, errors.

WAL lets processes read while one writes; synchronous=FULL makes a commit wait for the disk.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clsa_search.errors import InputError, missing_gallery
from clsa_search.gallery.sqlite_schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION

WAIT_SECONDS = 60.0  # for the transaction of another process
_PAGE_BYTES = 32768  # several embeddings in each, none across two


class SQLiteFile:
    """A connection to the file of a gallery; threads may share it.

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
        if create_for is None and not os.path.isfile(path):
            raise missing_gallery(path)
        if create_for is not None:
            _make_folder(path)
        with reported(path, "open"):
            mode = "rw" if create_for is None else "rwc"
            self.connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=WAIT_SECONDS,
                isolation_level=None,  # this class begins and ends transactions
                check_same_thread=False,  # this class holds a lock
            )
            try:
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
        with self._lock, reported(self.path, "read"):
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

    @contextmanager
    def writing(self, action: str) -> Iterator[None]:
        """Write all changes of the block, or none.

        Args:
            action: verb for messages.
        """
        with self._lock, reported(self.path, action):
            with self._transaction("IMMEDIATE"):
                yield
            self._writes += 1

    def read_state(self) -> tuple[int, int]:
        """Return a version of the file; every change by any process changes it."""
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        return version, self._writes

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
            self._check_version()
        (journal,) = execute("PRAGMA journal_mode = WAL").fetchone()
        if journal != "wal":
            raise InputError(
                f"{self.path}: is on a disk without shared access for SQLite; expected a local disk"
            )
        execute("PRAGMA synchronous = FULL")

    def _create(self, weights: str, about: Mapping[str, str]) -> None:
        for statement in SCHEMA.split(";"):
            self.connection.execute(statement)
        values = weights, json.dumps(dict(about))
        self.connection.execute("INSERT INTO gallery VALUES (?, ?, NULL, 1)", values)
        self.connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _check_version(self) -> None:
        (application,) = self.connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise InputError(f"{self.path}: is not a gallery; expected one made by this program")
        (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{self.path}: is a gallery of version {version}; expected version "
                f"{SCHEMA_VERSION}: index again with this program, or use the program that made it"
            )


@contextmanager
def reported(path: Path, action: str) -> Iterator[None]:
    """Raise errors of SQLite as InputError."""
    try:
        yield
    except (sqlite3.Error, UnicodeEncodeError) as error:  # the latter: a path is not text
        if type(error) in (sqlite3.DatabaseError, sqlite3.DataError):
            expected = "a gallery that is whole: this file is damaged or something else"
        else:  # of the disk, or of other processes
            expected = (
                "a readable gallery on a writable disk with free space; data stored before is kept"
            )
        raise InputError(f"{path}: cannot {action}: {error}; expected {expected}") from error


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be made: {error.filename}: {error.strerror}; "
            "expected a file in a writable folder"
        ) from error
