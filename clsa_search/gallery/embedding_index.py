"""A gallery in memory: its embeddings and the columns for filters.

Shape letters: Q queries, N detections, K matches of each query, D embedding width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from clsa_search.gallery.embedding_matrix import EmbeddingMatrix, select_top
from clsa_search.gallery.store_records import Filter, SearchHits

SOURCE_SHIFT = 32  # number of an image: source id << 32 | frame + 1, or 0 without a frame
_IMAGE_SHARE = 4  # detections to rank first, for each requested image
_NARROW = 4  # a filter for at most one detection in so many copies their embeddings


class _Columns(NamedTuple):
    """Fields of all detections (N,), sorted by id."""

    ids: np.ndarray  # int64
    images: np.ndarray  # int64
    cameras: np.ndarray  # int32 codes
    times: np.ndarray  # float64; NaN: unknown
    scores: np.ndarray  # float32


_EMPTY = _Columns(*(np.empty(0, dtype) for dtype in ("i8", "i8", "i4", "f8", "f4")))


class EmbeddingIndex:
    """Exact search by one matrix product with all embeddings.

    Args:
        width: embedding width D.
        device: device of the embeddings and of the search.
        dtype: float32 or float16 of the stored embeddings.
    """

    def __init__(self, width: int, *, device: torch.device, dtype: torch.dtype) -> None:
        self._matrix = EmbeddingMatrix(width, device=device, dtype=dtype)
        self._columns = _EMPTY
        self._pieces: list[_Columns] = []
        self._camera_codes: dict[str | None, int] = {}

    @property
    def last_id(self) -> int:
        """Highest id of the detections; 0 without any."""
        columns = self._join_pieces()
        return int(columns.ids[-1]) if len(columns.ids) else 0

    def append(self, rows: Sequence[tuple]) -> None:
        """Append detections with ascending ids.

        Args:
            rows: (id, image, camera, time, score, embedding as float32 bytes) of each.
        """
        ids, images, cameras, times, scores, embeddings = zip(*rows, strict=True)
        table = np.frombuffer(bytearray().join(embeddings), dtype="<f4")
        self._matrix.append(table.reshape(len(rows), self._matrix.width))
        codes = self._camera_codes
        camera_codes = [codes.setdefault(camera, len(codes)) for camera in cameras]
        values = ids, images, camera_codes, times, scores
        pairs = zip(values, _EMPTY, strict=True)
        self._pieces.append(_Columns(*(np.array(value, empty.dtype) for value, empty in pairs)))

    def remove(self, source_ids: Sequence[int]) -> None:
        """Remove all detections of some sources."""
        columns = self._join_pieces()
        keep = ~np.isin(columns.images >> SOURCE_SHIFT, source_ids)
        self._matrix.keep(keep)
        self._columns = _Columns(*(column[keep] for column in columns))

    def select(self, where: Filter, source_ids: Sequence[int]) -> np.ndarray:
        """Compute the mask of a filter.

        Args:
            where: the filter.
            source_ids: ids of the sources in the filter.

        Returns:
            (N,) bool.
        """
        columns = self._join_pieces()
        mask = np.ones(len(columns.ids), dtype=bool)
        if where.cameras is not None:
            accepted = np.zeros(len(self._camera_codes), dtype=bool)
            codes = [self._camera_codes[c] for c in where.cameras if c in self._camera_codes]
            accepted[codes] = True
            mask &= accepted[columns.cameras]
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
        """Find the most similar detections; see `GalleryStore.search_ids`.

        Args:
            queries: (Q, D) float32.
            k: number of detections for each query.
            mask: (N,) detections to search; None: all.
            per_image: keep the best detection of each image only.
        """
        columns = self._join_pieces()
        available = len(columns.ids) if mask is None else int(mask.sum())
        if available == 0 or len(queries) == 0:
            return SearchHits.empty(len(queries))
        rows = hidden = None
        if mask is not None and available * _NARROW <= len(mask):
            rows = np.flatnonzero(mask)
            columns = _Columns(*(column[rows] for column in columns))
        elif mask is not None:
            hidden = torch.from_numpy(~mask).to(self._matrix.device)
        parts = []
        # similarities of a block take an eighth of the memory of the embeddings
        for block in queries.to(self._matrix.device).split(max(1, self._matrix.width // 8)):
            similarities = self._matrix.multiply(block, rows)
            if hidden is not None:
                similarities.masked_fill_(hidden, -torch.inf)
            if per_image:
                parts.append(_rank_images(similarities, k, available, columns.images))
            else:
                parts.append(_rank_detections(similarities, min(k, available)))
        values, positions = map(np.concatenate, zip(*parts, strict=True))
        return SearchHits(columns.ids[positions], values)

    def _join_pieces(self) -> _Columns:
        """Return the columns; join the loaded pieces first."""
        if self._pieces:
            joined = zip(self._columns, *self._pieces, strict=True)
            self._columns, self._pieces = _Columns(*map(np.concatenate, joined)), []
        return self._columns


def _rank_detections(similarities: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (Q, K) values and positions, most similar first."""
    values, positions = select_top(similarities, k)
    return values.cpu().numpy(), positions.cpu().numpy()


def _rank_images(
    similarities: torch.Tensor, k: int, available: int, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rank the best detection of each image; rank more detections until there are k images.

    Args:
        similarities: (Q, N).
        k: number of images for each query.
        available: number of detections in the filter.
        images: (N,) number of each detection's image.

    Returns:
        (Q, K) values and positions, most similar first.
    """
    count = k
    while True:
        count = min(_IMAGE_SHARE * count, available)
        values, positions = _rank_detections(similarities, count)
        firsts = [np.sort(np.unique(row, return_index=True)[1])[:k] for row in images[positions]]
        if count == available or min(map(len, firsts)) == k:
            chosen = np.stack(firsts)  # equal lengths: all queries search the same images
            return np.take_along_axis(values, chosen, 1), np.take_along_axis(positions, chosen, 1)
