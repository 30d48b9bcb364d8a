"""Connections to the file of a gallery: writable or read-only; errors as InputError."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from clsa_search.errors import InputError, missing_gallery

WAIT_SECONDS = 5.0  # for the transaction of another process
INDEX_SECONDS = 30.0  # an indexer waits longer: many may work beside it
Access = Literal["rwc", "rw", "ro", "immutable"]

_DISK_FAULTS = (
    "database or disk is full",
    "disk I/O error",
    "unable to open database file",
    "attempt to write a readonly database",
)
_ROOM_BYTES = 1 << 16  # that SQLite needs beside the file to open it for writing
_KEPT = "data stored before is kept"


def connect(path: Path, *, create: bool) -> tuple[sqlite3.Connection, Access]:
    """Connect to a file.

    Args:
        path: the file.
        create: the file is made if it is missing, and has to be writable.

    Returns:
        The connection, and what it can do: an immutable file is taken not to change.

    Raises:
        InputError: the file cannot be made, written or read.
    """
    if not create and not os.path.isfile(path):
        raise missing_gallery(path)
    if create:
        _make_folder(path)
    is_read_only = os.path.isfile(path) and not _is_writable(path)
    if is_read_only and create:
        raise InputError(
            f"{path}: cannot be written; expected a gallery on a writable disk with free space, in "
            "a folder with permission to write"
        )
    access: Access = "rwc" if create else "rw"
    if is_read_only:  # SQLite needs no files beside an immutable one
        access = "ro" if _has_log(path) else "immutable"
    mode = "ro&immutable=1" if access == "immutable" else access
    with reported(path, "open"):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=WAIT_SECONDS,
            isolation_level=None,  # `SQLiteFile` begins and ends transactions
            check_same_thread=False,  # `SQLiteFile` holds a lock
        )
    return connection, access


def read_state(path: Path) -> tuple[int, int, bool]:
    """Return a state of an immutable file; it changes if another process writes after all."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, _has_log(path)


@contextmanager
def reported(path: Path, action: str) -> Iterator[None]:
    """Raise errors of SQLite as InputError."""
    try:
        yield
    except (sqlite3.Error, UnicodeError) as error:  # the latter: of a path, or of damaged text
        raise InputError(f"{path}: cannot {action}: {error}; {_explain(error)}") from error


def _explain(error: Exception) -> str:
    message = str(error)
    if "locked" in message:
        return f"another process writes or holds it: wait, or end that process; {_KEPT}"
    if "closed" in message:
        return "the gallery was closed: open it again"
    if message.startswith(_DISK_FAULTS):
        return f"expected a readable gallery on a writable disk with free space; {_KEPT}"
    if isinstance(error, UnicodeEncodeError):
        return f"expected the name of a file in Unicode; {_KEPT}"
    return (
        "expected a gallery that is whole: this file is damaged or something else; "
        "use a copy of it, or delete it and index again"
    )


def _is_writable(path: Path) -> bool:
    """Return whether a file can be written: on a full disk it is read only."""
    path = path.resolve()
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return False
    disk = os.statvfs(path.parent)
    is_known = disk.f_blocks > 0  # some network drives tell nothing
    return not is_known or disk.f_bavail * disk.f_frsize >= _ROOM_BYTES


def _has_log(path: Path) -> bool:
    """Return whether there are changes that are not in the file yet."""
    log = Path(f"{path.resolve()}-wal")
    return log.is_file() and log.stat().st_size > 0


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be made: {error.filename}: {error.strerror}; "
            "expected a file in a writable folder"
        ) from error
