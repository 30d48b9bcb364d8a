"""A gallery in memory: the embeddings, and the columns that filters ask for.

Shape letters: Q queries, N rows, K matches of each query, D width of a embedding.
"""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from clsa_search.gallery.embedding_matrix import EmbeddingMatrix, rank_rows
from clsa_search.gallery.store_records import Filter, SearchHits

SOURCE_SHIFT = 32  # an image's number: source id << 32 | frame + 1, or 0 for a photograph
_IMAGE_SHARE = 4  # matches looked at first, for each image that is wanted
_NARROW = 4  # of a filter that leaves no more than one in so many rows, copying these is quicker


class Columns(NamedTuple):
    """Of all rows (N,), in the order of row ids."""

    ids: np.ndarray  # int64
    images: np.ndarray  # int64
    cameras: np.ndarray  # int32 codes
    times: np.ndarray  # float64; NaN: not known
    scores: np.ndarray


_EMPTY = Columns(*(np.empty(0, dtype) for dtype in ("i8", "i8", "i4", "f8", "f4")))


class EmbeddingIndex:
    """Searched exactly: one product with all embeddings."""

    def __init__(self, width: int, *, device: torch.device, dtype: torch.dtype) -> None:
        self._matrix = EmbeddingMatrix(width, device=device, dtype=dtype)
        self._columns = _EMPTY
        self._pieces: list[Columns] = []
        self._camera_codes: dict[str | None, int] = {}

    @property
    def last_id(self) -> int:
        """The highest that is or was here since the last change of columns."""
        columns = self._join_pieces()
        return int(columns.ids[-1]) if len(columns.ids) else 0

    def append(self, rows: Sequence[tuple]) -> None:
        """Add rows of ascending ids: (id, image, camera, time, score, embedding as bytes).

        Raises:
            sqlite3.DataError: a embedding has another width.
        """
        for detection_id, *_, embedding in rows:
            if len(embedding) != 4 * self._matrix.width:
                raise sqlite3.DataError(
                    f"detection {detection_id} holds {len(embedding)} bytes of "
                    f"{4 * self._matrix.width}"
                )
        ids, images, cameras, times, scores, embeddings = zip(*rows, strict=True)
        table = np.frombuffer(bytearray().join(embeddings), dtype="<f4")
        self._matrix.append(table.reshape(len(rows), self._matrix.width))
        codes = self._camera_codes
        numbered = [codes.setdefault(camera, len(codes)) for camera in cameras]
        values = ids, images, numbered, times, scores
        pairs = zip(values, _EMPTY, strict=True)
        self._pieces.append(Columns(*(np.array(value, empty.dtype) for value, empty in pairs)))

    def remove(self, source_ids: Sequence[int]) -> None:
        """Remove all rows of some sources."""
        columns = self._join_pieces()
        keep = ~np.isin(columns.images >> SOURCE_SHIFT, source_ids)
        self._matrix.keep(keep)
        self._columns = Columns(*(column[keep] for column in columns))

    def list_cameras(self) -> list[str]:
        """Names of those that rows have, sorted."""
        names = list(self._camera_codes)
        used = {names[code] for code in np.unique(self._join_pieces().cameras)}
        return sorted(used - {None})

    def select(self, where: Filter, source_ids: Sequence[int]) -> np.ndarray:
        """Mask (N,) of the rows that pass.

        Args:
            where: the filter.
            source_ids: of its sources.
        """
        columns = self._join_pieces()
        mask = np.ones(len(columns.ids), dtype=bool)
        if where.cameras is not None:
            wanted = np.zeros(len(self._camera_codes), dtype=bool)
            wanted[[self._camera_codes[c] for c in where.cameras if c in self._camera_codes]] = True
            mask &= wanted[columns.cameras]
        if where.sources is not None:
            mask &= np.isin(columns.images >> SOURCE_SHIFT, source_ids)
        if where.since is not None:
            mask &= columns.times >= where.since
        if where.until is not None:
            mask &= columns.times <= where.until
        if where.min_score is not None:
            mask &= columns.scores >= np.float32(where.min_score)
        return mask

    def search(
        self, queries: torch.Tensor, k: int, mask: np.ndarray | None, *, per_image: bool
    ) -> SearchHits:
        """See `GalleryStore.search`; only rows of the mask (N,), or all."""
        columns = self._join_pieces()
        available = len(columns.ids) if mask is None else int(mask.sum())
        if available == 0 or len(queries) == 0:
            shape = len(queries), 0
            return SearchHits(np.empty(shape, np.int64), np.empty(shape, np.float32))
        rows = hidden = None
        if mask is not None and available * _NARROW <= len(mask):
            rows = np.flatnonzero(mask)
            columns = Columns(*(column[rows] for column in columns))
        elif mask is not None:
            hidden = torch.from_numpy(~mask).to(self._matrix.device)
        found = []
        # similarities of a block take an eighth of the memory of the embeddings
        for block in queries.to(self._matrix.device).split(max(1, self._matrix.width // 8)):
            similarities = self._matrix.multiply(block, rows)
            if hidden is not None:
                similarities.masked_fill_(hidden, -torch.inf)
            if per_image:
                found.append(_find_images(similarities, k, available, columns.images))
            else:
                found.append(_find_rows(similarities, min(k, available)))
        values, places = map(np.concatenate, zip(*found, strict=True))
        return SearchHits(columns.ids[places], values)

    def _join_pieces(self) -> Columns:
        """Of loading, put together when it is over."""
        if self._pieces:
            joined = zip(self._columns, *self._pieces, strict=True)
            self._columns, self._pieces = Columns(*map(np.concatenate, joined)), []
        return self._columns


def _find_rows(similarities: torch.Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(Q, count) values and places."""
    values, places = rank_rows(similarities, count)
    return values.cpu().numpy(), places.cpu().numpy()


def _find_images(
    similarities: torch.Tensor, k: int, available: int, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(Q, K) values and places, the best of each image: more are ranked until they suffice.

    Args:
        similarities: (Q, N).
        k: images wanted.
        available: rows that are not hidden.
        images: (N,) number of each row's image.
    """
    count = k
    while True:
        count = min(_IMAGE_SHARE * count, available)
        values, places = _find_rows(similarities, count)
        firsts = [np.sort(np.unique(row, return_index=True)[1])[:k] for row in images[places]]
        if count == available or min(map(len, firsts)) == k:
            chosen = np.stack(firsts)  # of one length: all queries see the same images
            return np.take_along_axis(values, chosen, 1), np.take_along_axis(places, chosen, 1)
