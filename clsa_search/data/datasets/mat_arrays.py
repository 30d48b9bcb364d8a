"""Matrices of MATLAB files as NumPy arrays, nested ones as arrays of objects.

The arrays are those of `scipy.io.loadmat`, in pure Python: SciPy's reader ends the whole process on
some damaged files.
"""

import io
from typing import BinaryIO

import numpy as np

from clsa_search.data.datasets.mat_elements import (
    CELL,
    CHAR,
    DOUBLE,
    NUMBER_TYPES,
    STRUCT,
    UINT64,
    BrokenError,
    Header,
    read_element,
    read_exactly,
    read_header,
    read_tag,
)

_MAX_BYTES = 1 << 30  # of a variable; the largest published one has about 100 MB
_TAG_BYTES = 8
# letters in 8-bit numbers are Latin-1, in 16-bit numbers UTF-16
_ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


def read_variable(stream: BinaryIO, order: str) -> np.ndarray:
    """Read the array of a variable.

    Args:
        stream: stream at the tag of a matrix.
        order: "<" for little-endian, ">" for big-endian.

    Returns:
        Numbers in the type they are stored in, of any dimensions. A matrix of letters has a text
        for each row. Cells are an array of arrays, structs an array of records of arrays.

    Raises:
        BrokenError: the bytes do not follow the format, or the variable is too large.
    """
    size = read_tag(stream, order)
    if size > _MAX_BYTES:
        raise BrokenError(f"a variable claims {size} bytes; the limit is {_MAX_BYTES}")
    return _read_contents(io.BytesIO(read_exactly(stream, size)), order, size)


def _read_matrix(stream: io.BytesIO, order: str) -> np.ndarray:
    size = read_tag(stream, order)
    end = stream.tell() + size
    array = _read_contents(stream, order, size)
    if stream.tell() > end:
        raise BrokenError("a matrix is larger than it claims")
    stream.seek(end)
    return array


def _read_contents(stream: io.BytesIO, order: str, size: int) -> np.ndarray:
    if not size:
        return np.empty((1, 0))  # never set
    header = read_header(stream, order)
    if DOUBLE <= header.kind <= UINT64:
        return _read_numbers(stream, order).reshape(header.dimensions, order="F")
    if header.kind == CHAR:
        return _read_texts(stream, order, header)
    if header.kind == CELL:
        return _read_nested(stream, order, header, np.dtype(object), 1)
    if header.kind == STRUCT:
        fields = np.dtype([(field, object) for field in header.fields])
        return _read_nested(stream, order, header, fields, len(header.fields))
    raise BrokenError(f"a matrix of class {header.kind}; expected numbers, texts, cells or structs")


def _read_numbers(stream: BinaryIO, order: str) -> np.ndarray:
    kind, data = read_element(stream, order)
    if kind not in NUMBER_TYPES:
        raise BrokenError(f"numbers of type {kind}")
    return np.frombuffer(data, order + NUMBER_TYPES[kind])


def _read_texts(stream: BinaryIO, order: str, header: Header) -> np.ndarray:
    """Return a text for each row of a matrix of letters."""
    kind, data = read_element(stream, order)
    if kind not in _ENCODINGS:
        raise BrokenError(f"letters of type {kind}")
    encoding = _ENCODINGS[kind]
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if order == "<" else "-be"
    text = data.decode(encoding)
    *rows, width = header.dimensions
    if len(text) != header.length:
        raise BrokenError(f"a text of {len(text)} letters, expected {header.length}")
    letters = np.array(list(text), dtype="U1").reshape(header.dimensions, order="F")
    if not width:
        return np.zeros(rows, dtype="U1")
    return np.ascontiguousarray(letters).view(f"U{width}")[..., 0]


def _read_nested(
    stream: io.BytesIO, order: str, header: Header, dtype: np.dtype, width: int
) -> np.ndarray:
    """Read the matrices of cells, or of structs with `width` fields."""
    left = len(stream.getbuffer()) - stream.tell()
    if header.length * width * _TAG_BYTES > left:
        raise BrokenError(f"{header.length} cells or structs in {left} bytes")
    values = np.empty(header.length, dtype=dtype)
    for i in range(header.length):
        matrices = [_read_matrix(stream, order) for _ in range(width)]
        values[i] = tuple(matrices) if dtype.names else matrices[0]
    return values.reshape(header.dimensions, order="F")
