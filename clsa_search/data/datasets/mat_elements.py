"""The elements of MATLAB files of version 5 to 7, read from a stream.

The layout is MathWorks' "MAT-File Format", version 5. An element is a tag (type, number of bytes)
and data padded to 8 bytes. A matrix is an element with further elements as data: flags, dimensions,
name, contents.
"""

import io
import math
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MATRIX, COMPRESSED = 14, 15
"""Types of elements."""

CELL, STRUCT, CHAR, DOUBLE, UINT64 = 1, 2, 4, 6, 15
"""Classes of matrices; the classes of numbers are DOUBLE to UINT64."""

NUMBER_TYPES = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"},
    **{16: "u1", 17: "u2"},  # UTF-8 and UTF-16
}
"""NumPy types of the elements with numbers or letters."""


class BrokenError(Exception):
    """Bytes that do not follow the format."""


class Header(NamedTuple):
    """What precedes the contents of a matrix.

    Args:
        kind: class of the matrix.
        rows: first dimension.
        length: product of all dimensions.
        name: name of the variable, empty inside other matrices.
        fields: names of the fields of structs.
    """

    kind: int
    rows: int
    length: int
    name: str
    fields: list[str]


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """Read a number of bytes; raise BrokenError if the stream ends before."""
    data = stream.read(size)
    if len(data) != size:
        raise BrokenError("it ends early")
    return data


def read_element(stream: BinaryIO) -> tuple[int, bytes]:
    """Return type and data of the next element of a stream, which is not a matrix."""
    tag = read_exactly(stream, 8)
    kind, size = struct.unpack("<II", tag)
    if kind >> 16:  # small: type and size share a word, and the data are the other word
        return kind & 0xFFFF, tag[4 : 4 + (kind >> 16)]
    return kind, read_exactly(stream, size + -size % 8)[:size]


def read_header(stream: BinaryIO) -> Header:
    """Read the header of a matrix; the stream then is at the contents of the matrix."""
    kind, _ = struct.unpack("<II", read_exactly(stream, 8))
    if kind != MATRIX:
        raise BrokenError(f"an element of type {kind}, expected a matrix")
    flags, dimensions, name = (read_element(stream)[1] for _ in range(3))
    rows, *others = struct.unpack(f"<{len(dimensions) // 4}i", dimensions)
    fields = []
    if flags[0] == STRUCT:
        length = int.from_bytes(read_element(stream)[1], "little")
        names = read_element(stream)[1]
        fields = [
            names[i : i + length].split(b"\0")[0].decode("latin-1")
            for i in range(0, len(names), length)
        ]
    return Header(flags[0], rows, rows * math.prod(others), name.decode("latin-1"), fields)


def open_variable(file: BinaryIO, name: str) -> BinaryIO:
    """Return a stream at the start of the matrix of a variable.

    Args:
        file: a MATLAB file at its start.
        name: name of the variable.
    """
    if file.read(128)[124:] != b"\x00\x01IM":
        raise BrokenError("it has another header")
    while tag := file.read(8):
        kind, size = struct.unpack("<II", tag)
        end = file.tell() + size
        start = file.tell() if kind == COMPRESSED else file.tell() - 8
        if read_header(_open_element(file, start, kind, size)).name == name:
            return _open_element(file, start, kind, size)
        file.seek(end)
    raise BrokenError(f"no variable {name!r}")


def iterate_matrices(stream: BinaryIO, count: int) -> Iterator[bytes]:
    """Yield the bytes of the next matrices of a stream, tags included."""
    for _ in range(count):
        tag = read_exactly(stream, 8)
        kind, size = struct.unpack("<II", tag)
        if kind != MATRIX:
            raise BrokenError(f"an element of type {kind}, expected a matrix")
        yield tag + read_exactly(stream, size)


def _open_element(file: BinaryIO, start: int, kind: int, size: int) -> BinaryIO:
    file.seek(start)
    return io.BufferedReader(_Inflated(file, size), 1 << 20) if kind == COMPRESSED else file


class _Inflated(io.RawIOBase):
    """The decompressed contents of the next `size` bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left, self._inflater = file, size, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
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
