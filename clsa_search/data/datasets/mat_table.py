"""Tables in MATLAB files: columns of texts and numbers, taken out of the bytes all at once.

An array for every field of every struct takes minutes and tens of gigabytes for a published gallery
with millions of (name, box, flag). This module finds the positions of all
matrices of a table with NumPy and reads a whole column together. A position counts words of 8
bytes, the alignment of all elements.
"""

import io
from collections.abc import Sequence

import numpy as np

from clsa_search.data.datasets.mat_elements import (
    CELL,
    CHAR,
    DOUBLE,
    MATRIX,
    NUMBER_TYPES,
    STRUCT,
    UINT64,
    BrokenError,
    read_element,
    read_header,
    read_tag,
)

_CONTENTS = 6  # words from the tag of a plain matrix to its contents
_MAX_LETTERS = 1024  # of a file name: a damaged length must not fill the memory
# the first words of a plain matrix: (word, value) of 8 bytes of flags, two dimensions, no name
_PLAIN = ((1, 6 | 8 << 32), (3, 5 | 8 << 32), (5, 1))


class Table:
    """Texts and numbers in rows: an array of structs, or a matrix of cells (rows, columns).

    Args:
        raw: bytes of the matrix, tag included.
        columns: names of the columns of cells; structs have names for their fields.
    """

    def __init__(self, raw: bytes, columns: Sequence[str] = ("imname", "idlocate")) -> None:
        stream = io.BytesIO(raw)
        read_tag(stream)
        header = read_header(stream)
        self._raw = raw
        self._words = np.frombuffer(raw, "<u8")
        width = len(header.fields) or header.length // max(header.rows, 1)
        count = header.length * max(len(header.fields), 1)
        positions = _find_matrices(raw, stream.tell() // 8, count)
        if header.kind == STRUCT:
            by_column = positions.reshape(-1, width).T
            self._columns = dict(zip(header.fields, by_column, strict=True))
        elif header.kind == CELL and width >= len(columns):
            self._columns = dict(zip(columns, positions.reshape(width, -1), strict=False))
        else:
            raise BrokenError(f"a table of class {header.kind}, expected structs or cells")

    def texts(self, column: str) -> np.ndarray:
        """Return a column of texts as (rows,) bytes; an empty matrix is an empty text."""
        positions, counts = self._find_column(column, lowest=CHAR, highest=CHAR)
        tags = self._words.take(positions + _CONTENTS, mode="clip").astype(np.int64)
        small = tags >> 16 & 0xFFFF  # the size, if type and size share a word
        kinds = np.where(small > 0, tags & 0xFFFF, tags & 0xFFFFFFFF)
        widths = np.where((kinds == 4) | (kinds == 17), 2, 1)  # UTF-16, or one byte per letter
        lengths = np.where(small > 0, small, tags >> 32) // widths
        lengths[counts == 0] = 0
        starts = (positions + _CONTENTS) * 8 + np.where(small > 0, 4, 8)
        longest = int(lengths.max(initial=0)) or 1
        if longest > _MAX_LETTERS:
            raise BrokenError(f"{column!r} claims to hold a text of {longest} letters")
        letters = np.arange(longest)
        texts = np.zeros((len(positions), len(letters)), dtype=np.uint8)
        for width in np.unique(widths):
            rows = widths == width
            data = np.frombuffer(self._raw, f"<u{width}")
            found = data.take((starts[rows] // width)[:, None] + letters, mode="clip")
            found = np.where(letters < lengths[rows, None], found, 0)
            if found.max(initial=0) > 255:
                raise BrokenError(f"{column!r} holds letters beyond Latin-1")
            texts[rows] = found
        return texts.view(f"S{len(letters)}")[:, 0]

    def arrays(self, column: str) -> dict[int, np.ndarray]:
        """Return the matrices of numbers of a column that are not empty, flat, by row."""
        positions, counts = self._find_column(column, lowest=DOUBLE, highest=UINT64)
        return {int(row): self._read_numbers(positions[row]) for row in np.flatnonzero(counts)}

    def _find_column(self, column: str, lowest: int, highest: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the position of each matrix of a column and its number of numbers or letters.

        Matrices that are not empty have to be of a class from `lowest` to `highest`.
        """
        if column not in self._columns:
            raise BrokenError(f"no field {column!r} in {', '.join(self._columns)}")
        positions = self._columns[column]
        sized = self._words[positions] >> 32 > 0  # an empty matrix may have not even dimensions
        full = positions[sized]
        for offset, start in _PLAIN:
            if (self._words[full + offset] != start).any():
                raise BrokenError(f"{column!r} is no column of texts or numbers")
        dimensions = self._words[full + 4]
        counts = np.zeros(len(positions), dtype=np.int64)
        counts[sized] = (dimensions & 0xFFFFFFFF) * (dimensions >> 32)
        classes = self._words[positions[counts > 0] + 2] & 0xFF
        if ((classes < lowest) | (classes > highest)).any():
            raise BrokenError(
                f"{column!r} is of class {classes.max()}; expected {lowest} to {highest}"
            )
        return positions, counts

    def _read_numbers(self, position: int) -> np.ndarray:
        stream = io.BytesIO(self._raw)
        stream.seek((position + _CONTENTS) * 8)
        kind, data = read_element(stream)
        if kind not in NUMBER_TYPES:
            raise BrokenError(f"numbers of type {kind}")
        return np.frombuffer(data, "<" + NUMBER_TYPES[kind])


def _find_matrices(raw: bytes, start: int, count: int) -> np.ndarray:
    """Return the positions of `count` adjacent matrices, from `start` to the end."""
    words = np.frombuffer(raw, "<u4").reshape(-1, 2)
    positions = start + np.flatnonzero(words[start:, 0] == MATRIX)
    ends = positions + 1 + words[positions, 1].astype(np.int64) // 8
    if len(positions) == count and np.array_equal(
        np.append(start, ends), np.append(positions, len(words))
    ):
        return positions
    # some data look like the tag of a matrix: go from tag to tag
    walked = []
    for _ in range(count):
        if start >= len(words) or words[start, 0] != MATRIX:
            raise BrokenError("a matrix is not where it should be")
        walked.append(start)
        start += 1 + int(words[start, 1]) // 8
    return np.array(walked, dtype=np.int64)
