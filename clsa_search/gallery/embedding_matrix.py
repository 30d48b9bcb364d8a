"""A embedding matrix that grows and shrinks in chunks, so that it is never there twice.

Shape letters: Q queries, N rows, D width of a embedding.
"""

from collections.abc import Iterator

import numpy as np
import torch

_CHUNK_BYTES = 1 << 26
_PIECE_ROWS = 1024  # copied or converted on a CPU at a time: they stay in its cache


class EmbeddingMatrix:
    """Rows in the order they came, in chunks of which only the last has room."""

    def __init__(self, width: int, *, device: torch.device, dtype: torch.dtype) -> None:
        self.width = width
        self.device = device
        self._dtype = dtype
        self._capacity = max(1, _CHUNK_BYTES // (width * dtype.itemsize))
        self._piece = _PIECE_ROWS if device.type == "cpu" else self._capacity
        self._chunks: list[torch.Tensor] = []
        self._used: list[int] = []

    def __len__(self) -> int:
        return sum(self._used)

    def append(self, rows: np.ndarray) -> None:
        """Add rows (n, D) at the end."""
        while len(rows):
            if not self._chunks or self._used[-1] == len(self._chunks[-1]):
                shape = self._capacity, self.width
                self._chunks.append(torch.empty(shape, dtype=self._dtype, device=self.device))
                self._used.append(0)
            start = self._used[-1]
            space = self._chunks[-1][start : start + len(rows)]
            space.copy_(torch.from_numpy(rows[: len(space)]))
            self._used[-1] += len(space)
            rows = rows[len(space) :]

    def keep(self, mask: np.ndarray) -> None:
        """Remove the rows that the mask (N,) does not hold; the others move up."""
        shares = np.split(mask, np.cumsum(self._used)[:-1]) if self._used else []
        for i, share in enumerate(shares):
            if share.all():
                continue
            kept = self._chunks[i][: len(share)][torch.from_numpy(share).to(self.device)]
            if i == len(shares) - 1:  # keeps its room for what is to come
                self._chunks[i][: len(kept)] = kept
            else:
                self._chunks[i] = kept
            self._used[i] = len(kept)

    def multiply(self, queries: torch.Tensor, rows: np.ndarray | None = None) -> torch.Tensor:
        """Inner products (Q, N) in float32 of queries (Q, D) with all rows, or those at `rows`.

        Args:
            queries: on the matrix's device.
            rows: ascending places.
        """
        count = len(self) if rows is None else len(rows)
        products = torch.empty(len(queries), count, device=self.device)
        start = 0
        for table in self._iterate_all() if rows is None else self._iterate_chosen(rows):
            stop = start + len(table)
            _multiply(queries, table.float(), products[:, start:stop])
            start = stop
        return products

    def _iterate_all(self) -> Iterator[torch.Tensor]:
        for chunk, used in zip(self._chunks, self._used, strict=True):
            table = chunk[:used]
            yield from [table] if self._dtype == torch.float32 else table.split(self._piece)

    def _iterate_chosen(self, rows: np.ndarray) -> Iterator[torch.Tensor]:
        """Copies, all in the same piece of memory: good until the next one."""
        copy = torch.empty(self._piece, self.width, dtype=self._dtype, device=self.device)
        first = 0
        for chunk, used in zip(self._chunks, self._used, strict=True):
            mine = rows[slice(*np.searchsorted(rows, [first, first + used]))]
            for piece in torch.from_numpy(mine - first).to(self.device).split(self._piece):
                if len(piece):
                    yield torch.index_select(chunk, 0, piece, out=copy[: len(piece)])
            first += used


def _multiply(queries: torch.Tensor, table: torch.Tensor, out: torch.Tensor) -> None:
    """Inner products (Q, n) of queries (Q, D) with the rows of a table (n, D)."""
    if table.device.type != "cpu":
        torch.mm(queries, table.T, out=out)
        return
    # With one query or a few, MKL reaches half of the memory's speed or less, but all of it with
    # the rows first and in a batch: here of two halves, which share a row if their number is odd.
    count, width = table.shape
    half = (count + 1) // 2
    halves = table.as_strided((2, half, width), ((count - half) * width, width, 1))
    first, second = torch.bmm(halves, queries.T.expand(2, -1, -1))
    out[:, :half], out[:, count - half :] = first.T, second.T


def rank_rows(similarities: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` highest of each row (Q, N), best first; of equal ones the first.

    Returns:
        (Q, count) values and places.
    """
    values, places = similarities.topk(min(count + 1, similarities.shape[1]))
    if values.shape[1] > count:  # topk takes any of equal ones: mend what they straddle
        tied = values[:, count] == values[:, count - 1]
        values, places = values[:, :count], places[:, :count]
        for row in tied.nonzero().flatten().tolist():
            chosen = _choose_first(similarities[row], values[row, -1], count)
            values[row], places[row] = similarities[row, chosen], chosen
    places, order = places.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, places.gather(1, order)


def _choose_first(row: torch.Tensor, bound: torch.Tensor, count: int) -> torch.Tensor:
    """Places of all above the bound and of the first of those at it, `count` together."""
    above = (row > bound).nonzero().flatten()
    level = (row == bound).nonzero().flatten()
    return torch.cat([above, level[: count - len(above)]])
