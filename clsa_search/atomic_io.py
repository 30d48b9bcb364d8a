"""Files that are written completely or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Open a file that replaces `path` once it is complete and on disk.

    Until then `path` does not change, even if the process dies. Its folder is created. If several
    processes write the same file, the last one wins. A link stays, and its target is replaced.
    Devices and pipes, such as /dev/stdout, are written to directly.

    Args:
        path: file to write.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = name_partial_file(path)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def name_partial_file(path: Path) -> Path:
    """Return the path of the file that this process writes before it replaces `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def remove_partial_files(folder: str | os.PathLike) -> None:
    """Delete the incomplete files of dead processes; no process may be writing to the folder."""
    for partial in Path(folder).glob(".*.partial"):
        partial.unlink(missing_ok=True)
