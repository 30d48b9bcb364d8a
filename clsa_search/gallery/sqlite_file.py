"""The file of the embedded engine: its tables, opening it, transactions, and its errors.

WAL lets processes read while one writes; synchronous=FULL makes a commit wait for the disk.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from clsa_search.errors import InputError

SCHEMA_VERSION = 3
APPLICATION_ID = 0x434C5341  # "CLSA": tells a gallery from other SQLite files
WAIT_SECONDS = 60.0  # for another process's transaction
_PAGE_BYTES = 32768  # several embeddings in each, none spread over two

# Ids are never used again, so that searching processes can follow: what is new has a higher
# id, what is gone belongs to a source in `deletions`. Embeddings come last in a row: reading what
# is before them does not read them.
_SCHEMA = """
CREATE TABLE gallery (
  weights TEXT NOT NULL, about TEXT NOT NULL, width INTEGER, next_id INTEGER NOT NULL);
CREATE TABLE sources (
  id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, fingerprint TEXT,
  next_frame INTEGER);
CREATE TABLE detections (
  id INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES sources, frame INTEGER, time REAL,
  camera TEXT, x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL,
  score REAL NOT NULL, embedding BLOB NOT NULL);
CREATE INDEX detections_of_source ON detections (source, frame);
CREATE TABLE deletions (id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL);
"""


def connect(path: Path, *, create_for: str | None, about: Mapping[str, str]) -> sqlite3.Connection:
    """Open a gallery's file.

    Args:
        path: of the file.
        create_for: hash of the weights of a new gallery, where there is none; None: do not create.
        about: see `open_store`.

    Raises:
        InputError: there is none and none can be made, or it is no gallery or one of another
            version.
    """
    if create_for is None and not os.path.isfile(path):
        raise InputError(f"{path}: there is no gallery; expected one, or to be asked to create it")
    if create_for is not None:
        _make_folder(path)
    with reported(path, "open"):
        mode = "rw" if create_for is None else "rwc"
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=WAIT_SECONDS,
            isolation_level=None,  # transactions are begun and ended here
            check_same_thread=False,  # the store holds a lock
        )
        try:
            _prepare(connection, path, create_for, about)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str) -> Iterator[None]:
    """All or nothing; kind: IMMEDIATE to write, DEFERRED to read one state."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have ended it
            connection.execute("ROLLBACK")
        raise


@contextmanager
def reported(path: Path, action: str) -> Iterator[None]:
    """SQLite's errors as InputError."""
    try:
        yield
    except (sqlite3.Error, UnicodeEncodeError) as error:  # the latter of a path that is no text
        if type(error) in (sqlite3.DatabaseError, sqlite3.DataError):
            expected = "a gallery that is whole: this file is damaged, or none"
        else:  # of the disk, or of others that use the file
            expected = (
                "a readable gallery on a writable disk with free space; "
                "what was stored before is kept"
            )
        raise InputError(f"{path}: cannot {action}: {error}; expected {expected}") from error


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be made: {error.filename}: {error.strerror}; "
            "expected a file in a folder that can be written"
        ) from error


def _prepare(
    connection: sqlite3.Connection, path: Path, create_for: str | None, about: Mapping[str, str]
) -> None:
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file only
    with transaction(connection, "DEFERRED" if create_for is None else "IMMEDIATE"):
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if create_for is not None and not tables:
            _create(connection, create_for, about)
        _check_version(connection, path)
    (journal,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if journal != "wal":
        raise InputError(f"{path}: is on a disk where SQLite cannot share; expected a local one")
    connection.execute("PRAGMA synchronous = FULL")


def _create(connection: sqlite3.Connection, weights: str, about: Mapping[str, str]) -> None:
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    values = weights, json.dumps(dict(about))
    connection.execute("INSERT INTO gallery VALUES (?, ?, NULL, 1)", values)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise InputError(f"{path}: is no gallery; expected one made by this program")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: is a gallery of version {version}; expected version {SCHEMA_VERSION}: "
            "index again with this program, or use the program that made it"
        )
