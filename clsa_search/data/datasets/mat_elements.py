"""The elements of MATLAB files of version 5 to 7, read from a stream.

The layout is MathWorks' "MAT-File Format", version 5. An element is a tag (type, number of bytes)
and data padded to 8 bytes. A matrix is an element with further elements as data: flags, dimensions,
name, contents. The order of bytes is "<" or ">" as in the module struct.
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

_COMPLEX = 0x800  # a flag of matrices


class BrokenError(Exception):
    """Bytes against the format."""


class Header(NamedTuple):
    """Head of a matrix, before its contents.

    Args:
        kind: class of the matrix.
        dimensions: dimensions of the matrix.
        name: name of the variable, empty inside other matrices.
        fields: names of the fields of structs.
    """

    kind: int
    dimensions: tuple[int, ...]
    name: str
    fields: list[str]

    @property
    def rows(self) -> int:
        """Return the first dimension."""
        return self.dimensions[0]

    @property
    def length(self) -> int:
        """Return the product of all dimensions."""
        return math.prod(self.dimensions)


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """Read a number of bytes; raise BrokenError if the stream ends before."""
    data = stream.read(size)
    if len(data) != size:
        raise BrokenError("it ends early")
    return data


def read_order(file: BinaryIO) -> str:
    """Return the order of bytes of a file, which is then behind its first header."""
    start = file.read(128)
    if start[124:] == b"\x00\x02IM" or start.startswith(b"\x89HDF"):
        raise BrokenError("it is of version 7.3 (HDF5); expected 5 to 7, as `save -v7` writes")
    if start[124:] == b"\x00\x01IM":
        return "<"
    if start[124:] == b"\x01\x00MI":
        return ">"
    raise BrokenError("it has another header than files of version 5 to 7")


def read_tag(stream: BinaryIO, order: str = "<") -> int:
    """Return the number of bytes of the matrix with the next tag."""
    kind, size = struct.unpack(order + "II", read_exactly(stream, 8))
    if kind != MATRIX:
        raise BrokenError(f"an element of type {kind}, expected a matrix")
    return size


def read_element(stream: BinaryIO, order: str = "<") -> tuple[int, bytes]:
    """Return type and data of the next element of a stream, which is not a matrix."""
    tag = read_exactly(stream, 8)
    kind, size = struct.unpack(order + "II", tag)
    if kind >> 16:  # small: type and size share a word, and the data are the other word
        return kind & 0xFFFF, tag[4 : 4 + (kind >> 16)]
    return kind, read_exactly(stream, size + -size % 8)[:size]


def read_header(stream: BinaryIO, order: str = "<") -> Header:
    """Read the header of a matrix behind its tag; the stream then is at the contents."""
    flags, dimensions, name = (read_element(stream, order)[1] for _ in range(3))
    (flag,) = struct.unpack(order + "I", flags[:4])
    if flag & _COMPLEX:
        raise BrokenError("it holds complex numbers")
    sizes = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    if len(sizes) < 2 or min(sizes) < 0:
        raise BrokenError(f"a matrix has the dimensions {sizes}")
    kind, fields = flag & 0xFF, []
    if kind == STRUCT:
        (width,) = struct.unpack(order + "i", read_element(stream, order)[1])
        names = read_element(stream, order)[1]
        fields = [
            names[i : i + width].split(b"\0")[0].decode("latin-1")
            for i in range(0, len(names), width)
        ]
    return Header(kind, sizes, name.decode("latin-1"), fields)


def open_variable(file: BinaryIO, order: str, *names: str) -> BinaryIO:
    """Return a stream at the tag of the first of some variables that a file has.

    Args:
        file: a MATLAB file behind its first header.
        order: order of bytes.
        names: names of variables.
    """
    found = {}
    while tag := file.read(8):
        kind, size = struct.unpack(order + "II", tag)
        end = file.tell() + size
        start = file.tell() if kind == COMPRESSED else file.tell() - 8
        stream = _open_element(file, start, kind, size)
        read_tag(stream, order)
        found[read_header(stream, order).name] = start, kind, size
        if names[0] in found:
            break
        file.seek(end)
    for name in names:
        if name in found:
            return _open_element(file, *found[name])
    raise BrokenError(f"no variable {' or '.join(map(repr, names))}")


def iterate_matrices(stream: BinaryIO, count: int) -> Iterator[bytes]:
    """Yield the bytes of the next matrices of a little-endian stream, tags included."""
    for _ in range(count):
        size = read_tag(stream)
        yield struct.pack("<II", MATRIX, size) + read_exactly(stream, size)


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
