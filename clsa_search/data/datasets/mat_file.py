"""MATLAB files: small ones whole, and large arrays of structs one element after the other.

SciPy makes an array of Python's for every field of every struct: minutes and tens of gigabytes for
a published gallery of millions of (name, box, flag). The reader below inflates such a file as a
stream and takes all names of a gallery out of their bytes at once. The layout is that of MathWorks'
"MAT-File Format", version 5: elements of a tag (type, number of bytes) and data padded to 8 bytes;
a matrix is an element whose data are elements again: flags, dimensions, name, contents.
"""

import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from scipy.io import loadmat

from clsa_search.data.cache import missing_file
from clsa_search.errors import InputError

_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _DOUBLE, _UINT64 = 1, 2, 4, 6, 15  # classes of matrices, numbers in a row
T = TypeVar("T")
_CONTENTS = 6  # words of 8 bytes from a plain matrix's tag to its contents
# what such a matrix begins with, by word: 8 bytes of flags, two dimensions, no name
_PLAIN = ((1, 6 | 8 << 32), (3, 5 | 8 << 32), (5, 1))
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
_NUMBERS |= {12: "i8", 13: "u8", 16: "u1", 17: "u2"}  # 16 and 17: UTF-8 and UTF-16


def load_variable(path: Path, *names: str) -> np.ndarray:
    """The first of the variables that the file has, as SciPy reads it.

    Raises:
        InputError: no such file, not a MATLAB file of version 4 to 7, or without these variables.
    """
    try:
        with open(path, "rb") as file:
            variables = loadmat(file, variable_names=names)
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except Exception as error:  # SciPy answers a broken file with anything, TypeError included
        raise InputError(f"{path}: not a readable MATLAB file: {error}") from error
    for name in names:
        if name in variables:
            return variables[name]
    raise InputError(f"{path}: no variable {' or '.join(map(repr, names))}")


def iterate_structs(path: Path, name: str, parse: Callable[[dict[str, "Table"]], T]) -> Iterator[T]:
    """What `parse` makes of each element, its fields by name, of the array of structs `name`.

    Raises:
        InputError: no such file, not a little-endian MATLAB file of version 5 to 7, without this
            variable, or it is no array of structs, or ends early, or `parse` cannot take it.
    """
    try:
        with open(path, "rb") as file:
            for element in _iterate_elements(_find_variable(file, name), name):
                yield parse(element)
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except (OSError, BrokenError, KeyError, struct.error, zlib.error) as error:
        raise InputError(
            f"{path}: not readable as a MATLAB file of version 5 with {name!r} as published: "
            f"{type(error).__name__} {error}"
        ) from error


class BrokenError(Exception):
    """The bytes are not what they should be."""


class Table:
    """Text and numbers in rows: an array of structs, or a matrix of cells (rows, columns).

    Args:
        raw: the bytes of the matrix, tag included.
        columns: what the columns of cells are called; structs name their fields themselves.
    """

    def __init__(self, raw: bytes, columns: Sequence[str] = ("imname", "idlocate")) -> None:
        stream = io.BytesIO(raw)
        head = _read_header(stream)
        self._raw = raw
        self._longs = np.frombuffer(raw, "<u8")
        width = len(head.fields) or head.count // max(head.rows, 1)
        count = head.count * max(len(head.fields), 1)
        places = _find_matrices(raw, stream.tell() // 8, count)
        if head.kind == _STRUCT:
            self._columns = dict(zip(head.fields, places.reshape(-1, width).T, strict=True))
        elif head.kind == _CELL and width >= len(columns):
            cells = places.reshape(width, -1)
            self._columns = dict(zip(columns, cells, strict=False))
        else:
            raise BrokenError(f"a table of class {head.kind}, expected structs or cells")

    def texts(self, column: str) -> np.ndarray:
        """The column, (rows,) bytes; empty where an entry is."""
        places, counts = self._places(column, lowest=_CHAR, highest=_CHAR)
        tags = self._longs.take(places + _CONTENTS, mode="clip").astype(np.int64)
        small = tags >> 16 & 0xFFFF  # the size, where type and size share a word
        kinds = np.where(small > 0, tags & 0xFFFF, tags & 0xFFFFFFFF)
        widths = np.where((kinds == 4) | (kinds == 17), 2, 1)  # UTF-16, or one byte a character
        lengths = np.where(small > 0, small, tags >> 32) // widths
        lengths[counts == 0] = 0
        starts = (places + _CONTENTS) * 8 + np.where(small > 0, 4, 8)
        letters = np.arange(lengths.max(initial=0) or 1)
        names = np.zeros((len(places), len(letters)), dtype=np.uint8)
        for width in np.unique(widths):
            rows = widths == width
            data = np.frombuffer(self._raw, f"<u{width}")
            found = data.take((starts[rows] // width)[:, None] + letters, mode="clip")
            found = np.where(letters < lengths[rows, None], found, 0)
            if found.max(initial=0) > 255:
                raise BrokenError(f"{column!r} holds letters beyond Latin-1")
            names[rows] = found
        return names.view(f"S{len(letters)}")[:, 0]

    def arrays(self, column: str) -> dict[int, np.ndarray]:
        """The entries of the column that are not empty, (n,) numbers each, by their row."""
        places, counts = self._places(column, lowest=_DOUBLE, highest=_UINT64)
        return {int(row): self._array(places[row]) for row in np.flatnonzero(counts)}

    def _places(self, column: str, lowest: int, highest: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the column's matrices begin, and how many numbers or letters are in each.

        Those that are not empty are of the given classes.
        """
        if column not in self._columns:
            raise BrokenError(f"no field {column!r} in {', '.join(self._columns)}")
        places = self._columns[column]
        sized = self._longs[places] >> 32 > 0  # an empty matrix may lack even its dimensions
        full = places[sized]
        for offset, start in _PLAIN:
            if (self._longs[full + offset] != start).any():
                raise BrokenError(f"{column!r} is no column of texts or numbers")
        dimensions = self._longs[full + 4]
        counts = np.zeros(len(places), dtype=np.int64)
        counts[sized] = (dimensions & 0xFFFFFFFF) * (dimensions >> 32)
        classes = self._longs[places[counts > 0] + 2] & 0xFF
        if ((classes < lowest) | (classes > highest)).any():
            raise BrokenError(
                f"{column!r} is of class {classes.max()}; expected {lowest} to {highest}"
            )
        return places, counts

    def _array(self, place: int) -> np.ndarray:
        stream = io.BytesIO(self._raw)
        stream.seek((place + _CONTENTS) * 8)
        kind, data = _read_element(stream)
        if kind not in _NUMBERS:
            raise BrokenError(f"numbers of type {kind}")
        return np.frombuffer(data, "<" + _NUMBERS[kind])


class _Header(NamedTuple):
    """What precedes the contents of a matrix."""

    kind: int
    rows: int
    count: int
    name: str
    fields: list[str]


class _Inflated(io.RawIOBase):
    """The decompressed contents of the next `size` bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left, self._inflater = file, size, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        data = b""
        while not data and not self._inflater.eof:
            packed = self._inflater.unconsumed_tail
            if not packed:
                packed = self._file.read(min(self._left, 1 << 16))
                self._left -= len(packed)
            if not packed:
                break
            data = self._inflater.decompress(packed, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _find_variable(file: BinaryIO, name: str) -> BinaryIO:
    """A stream that begins with the matrix of this name."""
    if file.read(128)[124:] != b"\x00\x01IM":
        raise BrokenError("it has another header")
    while tag := file.read(8):
        kind, size = struct.unpack("<II", tag)
        start = file.tell()
        for opened in (True, False):  # once to look at the name, once to be read
            file.seek(start if kind == _COMPRESSED else start - 8)
            stream = file
            if kind == _COMPRESSED:
                stream = io.BufferedReader(_Inflated(file, size), 1 << 20)
            if not opened:
                return stream
            if _read_header(stream).name != name:
                break
        file.seek(start + size)
    raise BrokenError(f"no variable {name!r}")


def _iterate_elements(stream: BinaryIO, name: str) -> Iterator[dict[str, Table]]:
    head = _read_header(stream)
    if head.kind != _STRUCT:
        raise BrokenError(f"{name!r} is of class {head.kind}; expected structs")
    for _ in range(head.count):
        element = {}
        for field in head.fields:
            tag = _read_exactly(stream, 8)
            element[field] = Table(tag + _read_exactly(stream, struct.unpack("<II", tag)[1]))
        yield element


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise BrokenError("it ends early")
    return data


def _read_element(stream: BinaryIO) -> tuple[int, bytes]:
    """Type and data of an element that is no matrix."""
    tag = _read_exactly(stream, 8)
    kind, size = struct.unpack("<II", tag)
    if kind >> 16:  # a small one: type and size share a word, the data are the other
        return kind & 0xFFFF, tag[4 : 4 + (kind >> 16)]
    return kind, _read_exactly(stream, size + -size % 8)[:size]


def _read_header(stream: BinaryIO) -> _Header:
    """Leaves the stream at the contents of the matrix."""
    kind, _ = struct.unpack("<II", _read_exactly(stream, 8))
    if kind != _MATRIX:
        raise BrokenError(f"an element of type {kind}, expected a matrix")
    flags, dimensions, name = (_read_element(stream)[1] for _ in range(3))
    rows, *others = struct.unpack(f"<{len(dimensions) // 4}i", dimensions)
    fields = []
    if flags[0] == _STRUCT:
        length = int.from_bytes(_read_element(stream)[1], "little")
        names = _read_element(stream)[1]
        fields = [
            names[i : i + length].split(b"\0")[0].decode("latin-1")
            for i in range(0, len(names), length)
        ]
    return _Header(flags[0], rows, rows * math.prod(others), name.decode("latin-1"), fields)


def _find_matrices(raw: bytes, start: int, count: int) -> np.ndarray:
    """Where `count` matrices in a row begin, from `start` to the end, in words of 8 bytes."""
    words = np.frombuffer(raw, "<u4").reshape(-1, 2)
    places = start + np.flatnonzero(words[start:, 0] == _MATRIX)
    ends = places + 1 + words[places, 1].astype(np.int64) // 8
    if len(places) == count and (np.append(start, ends) == np.append(places, len(words))).all():
        return places
    # some data look like the tag of a matrix: from tag to tag
    walked = []
    for _ in range(count):
        if start >= len(words) or words[start, 0] != _MATRIX:
            raise BrokenError("a matrix is not where it should be")
        walked.append(start)
        start += 1 + int(words[start, 1]) // 8
    return np.array(walked, dtype=np.int64)
