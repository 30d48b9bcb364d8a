"""A matrix of embeddings in chunks: it grows and shrinks and never exists twice in memory.

Shape letters: Q queries, N rows, n new rows, K results of each query, D embedding width.
"""

from collections.abc import Iterator

import numpy as np
import torch

_CHUNK_BYTES = 1 << 26
_PIECE_ROWS = 1024  # rows to copy or convert at a time on a CPU: they stay in its cache


class EmbeddingMatrix:
    """Embeddings in the order of adding; only the last chunk has free rows.

    Args:
        width: embedding width D.
        device: device of the chunks.
        dtype: float32 or float16; products are float32.
    """

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
        """Append rows (n, D)."""
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
        """Keep the rows of a mask (N,), in their order."""
        shares = np.split(mask, np.cumsum(self._used)[:-1]) if self._used else []
        for i, share in enumerate(shares):
            if share.all():
                continue
            kept = self._chunks[i][: len(share)][torch.from_numpy(share).to(self.device)]
            if i == len(shares) - 1:  # keeps its free rows
                self._chunks[i][: len(kept)] = kept
            else:
                self._chunks[i] = kept
            self._used[i] = len(kept)

    def multiply(self, queries: torch.Tensor, rows: np.ndarray | None = None) -> torch.Tensor:
        """Compute the inner products of queries and rows.

        Args:
            queries: (Q, D) float32 on the matrix's device.
            rows: (n,) ascending row numbers; None: all.

        Returns:
            (Q, N) or (Q, n) float32.
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
        """Yield copies of some rows, each in the memory of the one before."""
        copy = torch.empty(self._piece, self.width, dtype=self._dtype, device=self.device)
        first = 0
        for chunk, used in zip(self._chunks, self._used, strict=True):
            mine = rows[slice(*np.searchsorted(rows, [first, first + used]))]
            for piece in torch.from_numpy(mine - first).to(self.device).split(self._piece):
                if len(piece):
                    yield torch.index_select(chunk, 0, piece, out=copy[: len(piece)])
            first += used


def _multiply(queries: torch.Tensor, table: torch.Tensor, out: torch.Tensor) -> None:
    """Write the inner products of queries (Q, D) and rows of a table (n, D) to out (Q, n)."""
    if table.device.type != "cpu":
        torch.mm(queries, table.T, out=out)
        return
    # With few queries, MKL reaches half of the memory's bandwidth. It reaches all of it with the
    # rows first and in a batch: here of two halves, with one common row if their number is odd.
    count, width = table.shape
    half = (count + 1) // 2
    halves = table.as_strided((2, half, width), ((count - half) * width, width, 1))
    first, second = torch.bmm(halves, queries.T.expand(2, -1, -1))
    out[:, :half], out[:, count - half :] = first.T, second.T


def select_top(similarities: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the highest similarities of each query; ties go to the lower column.

    Args:
        similarities: (Q, N).
        k: at most N.

    Returns:
        (Q, K) values, highest first, and (Q, K) columns.
    """
    values, columns = similarities.topk(min(k + 1, similarities.shape[1]))
    if values.shape[1] > k:  # topk breaks ties at the end arbitrarily: repair these
        tied = values[:, k] == values[:, k - 1]
        values, columns = values[:, :k], columns[:, :k]
        for query in tied.nonzero().flatten().tolist():
            chosen = _select_first(similarities[query], values[query, -1], k)
            values[query], columns[query] = similarities[query, chosen], chosen
    columns, order = columns.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _select_first(row: torch.Tensor, bound: torch.Tensor, k: int) -> torch.Tensor:
    """Return the k columns with a value above the bound, and the first ones equal to it."""
    above = (row > bound).nonzero().flatten()
    tied = (row == bound).nonzero().flatten()
    return torch.cat([above, tied[: k - len(above)]])
