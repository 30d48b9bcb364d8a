"""Reading of `.npz` archives: sizes are bounded before memory is allocated."""

import math
import os
import zipfile
from typing import IO

import numpy as np
from numpy.lib import format as npy

from clsa_search.errors import InputError

_KINDS = "biufSU"  # numbers and texts
_COMPRESSION = 100  # times that an archive may grow; float32 numbers hardly shrink
_ALWAYS = 1 << 28  # bytes that any archive may hold
_END_RECORD = 22  # bytes; the number of entries is in it
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}

Arrays = dict[str, np.ndarray]


def read_arrays(path: str | os.PathLike) -> Arrays:
    """Read all arrays of an archive: numbers and texts, row after row.

    Raises:
        InputError: the file is no such archive, is damaged, or would grow a hundredfold.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            _check_sizes(archive, os.fstat(file.fileno()).st_size)
            _check_count(archive, file)
            return dict(_read_entry(archive, entry) for entry in archive.infolist())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile, zlib and NumPy raise errors of many types
        raise InputError(f"{path}: not a readable .npz archive: {error}") from error


def _check_sizes(archive: zipfile.ZipFile, file_size: int) -> None:
    total = sum(entry.file_size for entry in archive.infolist())
    allowed = max(_ALWAYS, _COMPRESSION * file_size)
    if total > allowed:
        raise ValueError(f"claims to hold {total:,} bytes; expected at most {allowed:,}")


def _check_count(archive: zipfile.ZipFile, file: IO[bytes]) -> None:
    """Check that no entry is lost or hidden; zipfile ignores the number in the end record."""
    names = archive.namelist()
    if len(set(names)) < len(names):
        raise ValueError("holds two entries of one name")
    file.seek(-_END_RECORD - len(archive.comment), os.SEEK_END)
    count = int.from_bytes(file.read(_END_RECORD)[10:12], "little")
    if count != min(len(names), 0xFFFF):
        raise ValueError(f"holds {len(names)} of {count} entries")


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[str, np.ndarray]:
    """Return the name and the array of an entry."""
    with archive.open(entry) as stream:
        dtype, count = _read_header(stream)
        size = entry.file_size - stream.tell()
    if dtype.kind not in _KINDS or count * dtype.itemsize != size or count > size:
        raise ValueError(f"{entry.filename} claims to hold {count} values of type {dtype}")
    with archive.open(entry) as stream:
        array = npy.read_array(stream, allow_pickle=False)
    return entry.filename.removesuffix(".npy"), np.ascontiguousarray(array).reshape(array.shape)


def _read_header(stream: IO[bytes]) -> tuple[np.dtype, int]:
    """Return the type and the number of values of an `.npy` stream."""
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"holds an array of format {version}")
    shape, _, dtype = _HEADERS[version](stream)
    if min(shape, default=0) < 0:
        raise ValueError(f"holds an array of shape {shape}")
    return dtype, math.prod(shape)
