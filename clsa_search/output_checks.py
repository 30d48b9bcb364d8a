"""Output that cannot be written: found before the work, or reported with its path."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clsa_search.atomic_io import name_partial_file
from clsa_search.errors import InputError

_BLOCK = bytes(4096)  # a full disk takes no block
_GALLERY_MARK = slice(68, 72), b"CLSA"  # application id of a gallery in SQLite's header


def check_output_file(path: str | os.PathLike, *, is_gallery: bool = False) -> None:
    """Check that a file can be created or replaced; nothing is created.

    Args:
        path: file to write.
        is_gallery: it is opened as a gallery; any other output would replace one.

    Raises:
        InputError: it is a folder, it is a gallery and would be replaced, its folder cannot be
            created or written to, its name is too long, or the disk is full.
    """
    with reported_writes(path):
        if os.path.isdir(path):
            raise InputError(f"{path}: is a folder; expected the path of a file to write")
        if not is_gallery and _is_gallery(path):
            raise InputError(f"{path}: is a gallery; expected another file to write")
        if not os.path.exists(path) or os.path.isfile(path):  # no device and no pipe
            _check_place(name_partial_file(_resolve(path)))


def check_output_folder(path: str | os.PathLike) -> None:
    """Check that files can be created in a folder, existing or not; nothing is created.

    Raises:
        InputError: it is a file, it cannot be created or written to, a name is too long, or the
            disk is full.
    """
    with reported_writes(path):
        if os.path.lexists(path) and not os.path.isdir(path):
            raise InputError(f"{path}: is not a folder; expected a folder to write to")
        _check_place(_resolve(path) / "file")


@contextmanager
def reported_writes(path: str | os.PathLike) -> Iterator[None]:
    """Raise InputError for an OSError in the block.

    Args:
        path: file or folder to be written.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror or error}; "
            "expected a writable place on a disk with free space"
        ) from error


def _is_gallery(path: str | os.PathLike) -> bool:
    place, mark = _GALLERY_MARK
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return file.read(place.stop)[place] == mark
    except (OSError, ValueError):  # the checks of the place report it
        return False


def _resolve(path: str | os.PathLike) -> Path:
    """Return the absolute path without links."""
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:
        raise OSError(errno.EINVAL, "the name has a null character") from error


def _check_place(path: Path) -> None:
    """Write to the nearest existing folder above a path, and try the names below it.

    Raises:
        OSError: a file could not be created at the path.
    """
    folder, names = path.parent, [path.name]
    while not os.path.lexists(folder):
        names.append(folder.name)
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(_BLOCK)
    for name in names:
        with suppress(FileNotFoundError):
            os.lstat(folder / name)  # another error: the name is too long
