"""Arrays that were slow to make, kept on disk for as long as the files they come from stay equal.

A cache lies in a hidden folder in the dataset's own or, where that cannot be written, in the user's
cache folder. Whatever is wrong with it, it is made anew; nothing depends on its being there.
"""

import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from clsa_search.atomic_io import replace_file
from clsa_search.errors import InputError

FORMAT_VERSION = 2  # to be raised when a reader makes other arrays of the same files
CACHE_FOLDER = ".clsa_search_cache"

Arrays = dict[str, np.ndarray]
logger = logging.getLogger(__name__)


def load_cached(
    folder: Path, name: str, sources: Sequence[Path], build: Callable[[], Arrays]
) -> Arrays:
    """What `build` returns, from the cache where there is one of the same sources.

    Args:
        folder: the dataset's.
        name: of the cache, a file's name.
        sources: what `build` reads. A folder stands for everything below it. The sources are the
            same if the names, sizes and times of change of their files are.
        build: makes the arrays; no arrays of objects.

    Raises:
        InputError: a source is missing, cached or not.
    """
    stamp = _stamp(folder, sources)
    places = [folder / CACHE_FOLDER / f"{name}.npz", _user_folder(folder) / f"{name}.npz"]
    for place in places:
        if (arrays := _read(place, stamp)) is not None:
            return arrays
    arrays = build()
    for place in places:
        try:
            _write(place, stamp, arrays)
            return arrays
        except OSError as error:
            logger.info("%s: no cache written: %s", place, error)
    return arrays


def missing_file(path: str | os.PathLike) -> InputError:
    """The error about a part of a dataset that is not there."""
    return InputError(
        f"{path}: no such file or folder; expected it as a part of the dataset "
        "(datasets/README.md tells where to get it and how its folder looks)"
    )


def _user_folder(folder: Path) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return Path(base) / "clsa_search" / f"{folder.name}-{digest[:16]}"


def _stamp(folder: Path, sources: Sequence[Path]) -> str:
    digest = hashlib.sha256(f"version {FORMAT_VERSION}".encode())
    for source in sources:
        digest.update(f"{os.path.relpath(source, folder)}\n".encode())
        for path, state in sorted(_states(source)):
            below = path[len(str(source)) :]
            digest.update(f"{below}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _states(source: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Path and state of the file, or of all files below the folder."""
    try:
        if not source.is_dir():
            yield str(source), source.stat()
            return
        folders = [str(source)]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.path)
                    else:
                        yield entry.path, entry.stat()
    except FileNotFoundError as error:
        raise missing_file(Path(error.filename)) from error


def _read(path: Path, stamp: str) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["stamp"]) == stamp:
                return {name: file[name] for name in file.files if name != "stamp"}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if path.exists():
            logger.warning("%s: damaged, made anew: %s", path, error)
    return None


def _write(path: Path, stamp: str, arrays: Arrays) -> None:
    with replace_file(path) as file:
        np.savez(file, stamp=np.array(stamp), **arrays)
