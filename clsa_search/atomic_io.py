"""Files that are whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` once it is whole and on disk.

    Until then `path` stays as it was, also where the process dies; its folder is made. Several
    processes may write the same file: the last one's stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def remove_partial_files(folder: str | os.PathLike) -> None:
    """Delete what processes that died left of unfinished files; nobody may be writing there."""
    for partial in Path(folder).glob(".*.partial"):
        partial.unlink(missing_ok=True)
