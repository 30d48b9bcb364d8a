"""A gallery in memory: its embeddings and the columns for filters.

Shape letters: Q queries, N detections or tracklets, n of them in a filter, C candidates and K
matches of each query, D embedding width.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from clsa_search.gallery.embedding_matrix import EmbeddingMatrix, select_top
from clsa_search.gallery.store_records import Filter, SearchHits

SOURCE_SHIFT = 32  # number of an image: source id << 32 | frame + 1, or 0 without a frame
_GROUP_SHARE = 4  # rows to rank first, for each requested group


class _Columns(NamedTuple):
    """Fields of all detections or tracklets (N,), sorted by id.

    Args:
        ids: int64, on the CPU.
        groups: int64, on the CPU; numbers of images, or chains of tracklets.
        sources: int32 codes, like all further fields on the device of the search.
        cameras: int32 codes.
        firsts: float64 first times; NaN: unknown.
        lasts: float64 last times.
        scores: float32.
    """

    ids: torch.Tensor
    groups: torch.Tensor
    sources: torch.Tensor
    cameras: torch.Tensor
    firsts: torch.Tensor
    lasts: torch.Tensor
    scores: torch.Tensor


_DTYPES = "i8", "i8", "i4", "i4", "f8", "f8", "f4"


class Selection(NamedTuple):
    """Ascending row numbers of the detections in a filter, (n,) int64.

    Args:
        rows: on the device of the search.
        on_host: the same numbers.
    """

    rows: torch.Tensor
    on_host: np.ndarray

    def __len__(self) -> int:
        return len(self.on_host)


class EmbeddingIndex:
    """Exact search by one matrix product with all embeddings.

    Args:
        width: embedding width D.
        device: device of the embeddings and of the search.
        dtype: float32 or float16 of the stored embeddings.
        expected: number of detections to be appended soon.
    """

    def __init__(
        self, width: int, *, device: torch.device, dtype: torch.dtype, expected: int = 0
    ) -> None:
        self.width = width
        self._matrix = EmbeddingMatrix(width, device=device, dtype=dtype, expected=expected)
        self._pieces = [self._make_columns([()] * len(_DTYPES))]
        self._source_codes: dict[int, int] = {}
        self._camera_codes: dict[str | None, int] = {}
        self._last_selection: tuple[tuple, Selection] | None = None

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def last_id(self) -> int:
        """Highest id; 0 without any."""
        ids = self._join_pieces().ids
        return int(ids[-1]) if len(ids) else 0

    def append(self, rows: Sequence[tuple]) -> None:
        """Append detections with ascending ids.

        Args:
            rows: (id, image, camera, time, score, embedding as float32 bytes) of each.
        """
        ids, images, cameras, times, scores, embeddings = zip(*rows, strict=True)
        sources = (image >> SOURCE_SHIFT for image in images)
        self._append(ids, images, sources, cameras, times, times, scores, embeddings)

    def append_tracklets(self, rows: Sequence[tuple]) -> None:
        """Append tracklets with ascending ids.

        Args:
            rows: (id, chain, source, camera, first time, last time, score, embedding as float32
                bytes) of each.
        """
        self._append(*zip(*rows, strict=True))

    def remove(self, source_ids: Sequence[int]) -> None:
        """Remove all rows of some sources."""
        codes = [self._source_codes[one] for one in source_ids if one in self._source_codes]
        self._keep(~np.isin(self._join_pieces().sources.cpu().numpy(), codes))

    def remove_ids(self, ids: Sequence[int]) -> None:
        """Remove the rows of some ids; unknown ones are passed over."""
        self._keep(~np.isin(self._join_pieces().ids.numpy(), ids))

    def truncate(self, first_id: int) -> None:
        """Remove all rows from an id on."""
        self._keep(self._join_pieces().ids.numpy() < first_id)

    def select(self, where: Filter, source_ids: Sequence[int]) -> Selection:
        """Find the detections in a filter; the result is kept for the next search with it.

        Args:
            where: the filter.
            source_ids: ids of the sources in the filter.
        """
        cameras = None if where.cameras is None else tuple(where.cameras)
        sources = None if where.sources is None else tuple(source_ids)
        key = cameras, sources, where.since, where.until, where.min_score
        last = self._last_selection
        if last is None or last[0] != key:
            rows = self._find_rows(*key)
            self._last_selection = last = key, Selection(rows, rows.cpu().numpy())
        return last[1]

    def search(
        self, queries: torch.Tensor, k: int, selection: Selection | None, *, per_group: bool
    ) -> SearchHits:
        """Find the most similar detections; see `GalleryStore.search_ids`.

        Args:
            queries: (Q, D) float32.
            k: number of detections for each query.
            selection: detections to search; None: all.
            per_group: keep the best one of each image or chain only.
        """
        columns = self._join_pieces()
        if len(queries) == 0 or len(columns.ids if selection is None else selection) == 0:
            return SearchHits.empty(len(queries))
        ids, groups = columns.ids.numpy(), columns.groups.numpy()
        rows, on_host = selection or (None, None)
        parts = []
        # similarities of a block take an eighth of the memory of the embeddings
        for block in queries.split(max(1, self.width // 8)):
            block = block.to(self._matrix.device, non_blocking=True)
            ranking = _Ranking(self._matrix.multiply(block, rows), on_host)
            parts.append(ranking.find_groups(groups, k) if per_group else ranking.find(k))
        values, positions = map(np.concatenate, zip(*parts, strict=True))
        return SearchHits(ids[positions], values)

    def _find_rows(
        self,
        cameras: Sequence[str] | None,
        sources: Sequence[int] | None,
        since: float | None,
        until: float | None,
        min_score: float | None,
    ) -> torch.Tensor:
        """Return the row numbers (n,) of the detections in a filter."""
        columns = self._join_pieces()
        mask = torch.ones_like(columns.sources, dtype=torch.bool)
        if cameras is not None:
            mask &= _is_in(columns.cameras, cameras, self._camera_codes)
        if sources is not None:
            mask &= _is_in(columns.sources, sources, self._source_codes)
        if since is not None:
            mask &= columns.lasts >= since
        if until is not None:
            mask &= columns.firsts <= until
        if min_score is not None:
            mask &= columns.scores >= float(np.float32(min_score))
        return mask.nonzero().flatten()

    def _append(
        self,
        ids: Sequence[int],
        groups: Sequence[int],
        sources: Iterable[int],
        cameras: Sequence[str | None],
        firsts: Sequence[float | None],
        lasts: Sequence[float | None],
        scores: Sequence[float],
        embeddings: Sequence[bytes],
    ) -> None:
        self._matrix.append(embeddings)
        codes = _encode(sources, self._source_codes), _encode(cameras, self._camera_codes)
        self._pieces.append(self._make_columns((ids, groups, *codes, firsts, lasts, scores)))
        self._last_selection = None

    def _keep(self, keep: np.ndarray) -> None:
        """Keep the rows of a mask (N,)."""
        columns = self._join_pieces()
        self._matrix.keep(keep)
        mask = torch.from_numpy(keep)
        self._pieces = [_Columns(*(column[mask.to(column.device)] for column in columns))]
        self._last_selection = None

    def _make_columns(self, values: Iterable[Sequence]) -> _Columns:
        pairs = zip(values, _DTYPES, strict=True)
        ids, groups, *others = (torch.from_numpy(np.array(value, dtype)) for value, dtype in pairs)
        return _Columns(ids, groups, *(column.to(self._matrix.device) for column in others))

    def _join_pieces(self) -> _Columns:
        """Return the columns; join the loaded pieces first."""
        if len(self._pieces) > 1:
            self._pieces = [_Columns(*map(torch.cat, zip(*self._pieces, strict=True)))]
        return self._pieces[0]


class _Ranking:
    """Similarities (Q, N) or (Q, n), to be ranked.

    Args:
        similarities: on the device of the search.
        rows: row number of each column; None: all rows.
    """

    def __init__(self, similarities: torch.Tensor, rows: np.ndarray | None) -> None:
        self._similarities = similarities
        self._rows = rows

    def find(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (Q, K) values and row numbers, most similar first."""
        k = min(k, self._similarities.shape[1])
        values, columns = select_top(self._similarities, k)
        return values, columns if self._rows is None else self._rows[columns]

    def find_groups(self, groups: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rank the best row of each group; rank more rows until there are k groups.

        Args:
            groups: number of each row's group.
            k: number of groups for each query.

        Returns:
            (Q, K) values and row numbers, most similar first.
        """
        count, available = k, self._similarities.shape[1]
        while True:
            count = min(_GROUP_SHARE * count, available)
            values, rows = self.find(count)
            is_first = _is_first(groups[rows])
            ranks = is_first.cumsum(axis=1)
            if count == available or ranks[:, -1].min() >= k:
                is_first &= ranks <= k  # as many for each query: all search the same rows
                shape = len(values), -1
                return values[is_first].reshape(shape), rows[is_first].reshape(shape)


def _encode(names: Iterable[Hashable], codes: dict) -> list[int]:
    """Return the code of each name; new names get the next codes."""
    return [codes.setdefault(name, len(codes)) for name in names]


def _is_in(column: torch.Tensor, names: Sequence[Hashable], codes: Mapping) -> torch.Tensor:
    """Return the mask of the codes (N,) of some names; unknown names have none."""
    accepted = torch.zeros(len(codes), dtype=torch.bool)
    accepted[[codes[name] for name in names if name in codes]] = True
    return accepted.to(column.device).index_select(0, column)


def _is_first(groups: np.ndarray) -> np.ndarray:
    """Return which of the groups (Q, C) did not appear before in its row."""
    order = groups.argsort(axis=1, kind="stable")
    arranged = np.take_along_axis(groups, order, axis=1)
    is_new = np.ones(groups.shape, bool)
    is_new[:, 1:] = arranged[:, 1:] != arranged[:, :-1]
    is_first = np.empty_like(is_new)
    np.put_along_axis(is_first, order, is_new, axis=1)
    return is_first
