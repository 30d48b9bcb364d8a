"""A cache on disk for arrays read from slow files, valid as long as the files stay the same.

The cache is a hidden folder in the dataset's folder. If that folder is read-only, the cache is in
the user's cache folder. A damaged or missing cache is rebuilt.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from clsa_search.atomic_io import replace_file
from clsa_search.data.dataset_files import missing_file
from clsa_search.errors import InputError
from clsa_search.npz_files import Arrays, read_arrays

FORMAT_VERSION = 3
"""Version of the cached arrays; raise it when a reader returns other arrays for the same files."""

CACHE_FOLDER = ".clsa_search_cache"
"""Name of the cache's folder in the folder of a dataset."""

logger = logging.getLogger(__name__)


def load_cached(
    folder: Path, name: str, sources: Sequence[Path], build: Callable[[], Arrays]
) -> Arrays:
    """Return the arrays of `build`, from the cache if it was built from the same sources.

    Args:
        folder: folder of the dataset.
        name: name of the cache file, without suffix.
        sources: files and folders read by `build`; a folder means all files below it. Sources are
            the same if the names, sizes and modification times of all files are the same.
        build: reads the sources; its arrays must not hold objects.

    Raises:
        InputError: a source is missing, cached or not.
    """
    stamp = _stamp(folder, sources)
    paths = [folder / CACHE_FOLDER / f"{name}.npz", user_folder(folder) / f"{name}.npz"]
    for path in paths:
        if (arrays := _read(path, stamp)) is not None:
            return arrays
    arrays = build()
    for path in paths:
        try:
            _write(path, stamp, arrays)
            return arrays
        except OSError as error:
            logger.info("%s: cannot write the cache: %s", path, error)
    return arrays


def user_folder(folder: Path) -> Path:
    """Return the cache folder of a dataset below the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return Path(base) / "clsa_search" / f"{folder.name}-{digest[:16]}"


def _stamp(folder: Path, sources: Sequence[Path]) -> str:
    digest = hashlib.sha256(f"version {FORMAT_VERSION}".encode())
    for source in sources:
        digest.update(f"{os.path.relpath(source, folder)}\n".encode())
        for path, status in sorted(_iterate_files(source)):
            below = path[len(str(source)) :]
            digest.update(f"{below}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _iterate_files(source: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path and status of a file, or of all files below a folder."""
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
        raise missing_file(error.filename) from error


def _read(path: Path, stamp: str) -> Arrays | None:
    try:
        arrays = read_arrays(path)
    except InputError as error:
        if os.path.exists(path):
            logger.warning("damaged cache, rebuilding it: %s", error)
        return None
    found = arrays.pop("stamp", None)
    return arrays if str(found) == stamp else None


def _write(path: Path, stamp: str, arrays: Arrays) -> None:
    with replace_file(path) as file:
        np.savez(file, **{"stamp": np.array(stamp)} | arrays)  # type: ignore[arg-type]
