"""The records that pass between all parts: detections of an image, queries, ragged arrays.

Shape letters: M detections of an image, Q queries, N rows of a ragged array, D embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

UNLABELED = -1
"""Person id of a box whose identity is not known."""

DEFAULT_SCORE_THRESHOLD = 0.5
"""Detections with a lower score are dropped, as in the published benchmarks."""

UNIT_TOLERANCE = 1e-2
"""Largest accepted difference between the norm of an embedding and 1 (half precision passes)."""


@dataclass(frozen=True)
class ImageDetections:
    """Detections of one image, most confident first when they come from the model.

    Args:
        boxes: (M, 4) float32 XYXY in pixels of the original image.
        scores: (M,) float32 detection scores in [0, 1].
        embeddings: (M, D) float32 rows of unit length.
    """

    boxes: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: slice | np.ndarray) -> "ImageDetections":
        return ImageDetections(self.boxes[index], self.scores[index], self.embeddings[index])

    @classmethod
    def empty(cls, width: int) -> "ImageDetections":
        """Return no detections, with embeddings of the given width."""
        return cls(*(np.zeros(shape, np.float32) for shape in ((0, 4), (0,), (0, width))))

    @classmethod
    def concatenate(cls, parts: Sequence["ImageDetections"]) -> "ImageDetections":
        """Join at least one part into one record, in the given order."""
        return cls(
            boxes=np.concatenate([part.boxes for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            embeddings=np.concatenate([part.embeddings for part in parts]),
        )


@dataclass(frozen=True)
class Queries:
    """Query boxes with their embeddings.

    Args:
        ids: (Q,) int64 positions in the list of queries of the dataset.
        boxes: (Q, 4) float32 XYXY in pixels of the original image.
        embeddings: (Q, D) float32 rows of unit length.
        image_ids: (Q,) str, the image of each query.
    """

    ids: np.ndarray
    boxes: np.ndarray
    embeddings: np.ndarray
    image_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: slice | np.ndarray) -> "Queries":
        return Queries(
            self.ids[index], self.boxes[index], self.embeddings[index], self.image_ids[index]
        )


@dataclass(frozen=True)
class PersonImage:
    """An image and the box of one person in it.

    Args:
        image: (H, W, 3) RGB uint8.
        box: (4,) XYXY in pixels of the image.
        caption: text below the image in reports.
    """

    image: np.ndarray
    box: np.ndarray
    caption: str = ""


class _Indexable(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


ValuesT = TypeVar("ValuesT", bound=_Indexable)


@dataclass(frozen=True)
class Ragged(Generic[ValuesT]):
    """Rows of different lengths in one array: row i is values[offsets[i]:offsets[i + 1]].

    Args:
        values: array or record with len() and indexing, such as ImageDetections.
        offsets: (N + 1,) int64, ascending from 0 to len(values).
    """

    values: ValuesT
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64 number of values of each row."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> np.ndarray:
        """(len(values),) int64 row of each value."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def row(self, index: int) -> ValuesT:
        """Return the values of one row."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def expand(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of the values of some rows.

        Args:
            rows: (R,) row numbers, in any order, repeated or not.

        Returns:
            (K,) position in `rows` and (K,) position in `values`, row after row.
        """
        lengths = self.lengths[rows]
        owner = np.repeat(np.arange(len(rows)), lengths)
        first = np.cumsum(lengths) - lengths
        return owner, np.arange(len(owner)) - first[owner] + self.offsets[rows][owner]

    def select(self, rows: np.ndarray) -> "Ragged[ValuesT]":
        """Return some rows, in the given order."""
        offsets = np.append(0, np.cumsum(self.lengths[rows])).astype(np.int64)
        return replace(self, values=self.values[self.expand(rows)[1]], offsets=offsets)

    @classmethod
    def from_lengths(
        cls, values: ValuesT, lengths: Sequence[int] | np.ndarray
    ) -> "Ragged[ValuesT]":
        """Build from values in row order and the number of values of each row."""
        return cls(values, np.append(0, np.cumsum(lengths)).astype(np.int64))
