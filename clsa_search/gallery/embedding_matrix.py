"""A matrix of embeddings in chunks: it grows and shrinks and never exists twice in memory.

Shape letters: Q queries, N rows, n chosen or new rows, K results of each query, D embedding width.
"""

import struct
from collections.abc import Iterator, Sequence

import numpy as np
import torch

_CHUNK_BYTES = 1 << 26
_PIECE_ROWS = 1024  # rows to copy or convert at a time on a CPU: they stay in its cache
_NARROW = 4  # on a CPU, a choice of at most one row in so many copies these rows
_GROWTH = 4  # on a GPU, a new chunk holds at least one row for so many present ones


class EmbeddingMatrix:
    """Embeddings in the order of adding; only the last chunk has free rows.

    On a CPU, chunks are small. On a GPU, few large chunks make few long products.

    Args:
        width: embedding width D.
        device: device of the chunks.
        dtype: float32 or float16; products are float32.
        expected: number of rows to be added soon; sizes the first chunk on a GPU.
    """

    def __init__(
        self, width: int, *, device: torch.device, dtype: torch.dtype, expected: int = 0
    ) -> None:
        self.width = width
        self.device = device
        self._dtype = dtype
        self._expected = expected
        self._chunk_rows = max(1, _CHUNK_BYTES // (width * dtype.itemsize))
        self._piece = _PIECE_ROWS if device.type == "cpu" else self._chunk_rows
        self._chunks: list[torch.Tensor] = []
        self._used: list[int] = []

    def __len__(self) -> int:
        return sum(self._used)

    def append(self, embeddings: Sequence[bytes]) -> None:
        """Append rows, each of D little-endian float32 numbers."""
        start = 0
        while start < len(embeddings):
            space = self._get_space(len(embeddings) - start)
            _fill(space, embeddings[start : start + len(space)])
            self._used[-1] += len(space)
            start += len(space)

    def keep(self, mask: np.ndarray) -> None:
        """Keep the rows of a mask (N,), in their order."""
        shares = np.split(mask, np.cumsum(self._used)[:-1]) if self._used else []
        for i, share in enumerate(shares):
            if not share.all():
                self._used[i] = _compact(self._chunks[i], share, self._chunk_rows)
                if i < len(shares) - 1:  # only the last chunk keeps its free rows
                    self._chunks[i] = self._chunks[i][: self._used[i]].clone()

    def multiply(self, queries: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the inner products of queries and rows.

        Args:
            queries: (Q, D) float32 on the matrix's device.
            rows: (n,) ascending row numbers on the matrix's device; None: all.

        Returns:
            (Q, N) or (Q, n) float32.
        """
        if rows is not None and self.device.type == "cpu" and len(rows) * _NARROW <= len(self):
            return _multiply_all(queries, self._iterate_chosen(rows.numpy()), len(rows))
        products = _multiply_all(queries, self._iterate_all(), len(self))
        return products if rows is None else products.index_select(1, rows)

    def _get_space(self, count: int) -> torch.Tensor:
        """Return up to `count` free rows; add a chunk if there are none."""
        if not self._chunks or self._used[-1] == len(self._chunks[-1]):
            rows = self._chunk_rows
            if self.device.type != "cpu":
                rows = max(rows, self._expected - len(self), len(self) // _GROWTH)
            shape = rows, self.width
            self._chunks.append(torch.empty(shape, dtype=self._dtype, device=self.device))
            self._used.append(0)
        start = self._used[-1]
        return self._chunks[-1][start : start + count]

    def _iterate_all(self) -> Iterator[torch.Tensor]:
        for chunk, used in zip(self._chunks, self._used, strict=True):
            table = chunk[:used]
            yield from [table] if self._dtype == torch.float32 else table.split(self._piece)

    def _iterate_chosen(self, rows: np.ndarray) -> Iterator[torch.Tensor]:
        """Yield copies of some rows, each in the memory of the one before."""
        copy = torch.empty(self._piece, self.width, dtype=self._dtype)
        first = 0
        for chunk, used in zip(self._chunks, self._used, strict=True):
            mine = rows[slice(*np.searchsorted(rows, [first, first + used]))]
            for piece in torch.from_numpy(mine - first).split(self._piece):
                if len(piece):
                    yield torch.index_select(chunk, 0, piece, out=copy[: len(piece)])
            first += used


def select_top(similarities: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Select the highest similarities of each query; ties go to the lower column.

    Args:
        similarities: (Q, N).
        k: at most N.

    Returns:
        (Q, K) values, highest first, and (Q, K) columns.
    """
    values, columns = _fetch(*similarities.topk(min(k + 1, similarities.shape[1])))
    tied = values[:, 1:] == values[:, :-1]  # topk orders ties arbitrarily
    if values.shape[1] > k:
        values, columns = values[:, :k], columns[:, :k]
        for query in np.flatnonzero(tied[:, -1]):  # and it chooses among the last ones arbitrarily
            bound = float(values[query, -1])
            values[query], columns[query] = _select_first(similarities[query], bound, k)
    if tied.any():
        order = np.lexsort((columns, -values))
        values, columns = (np.take_along_axis(x, order, axis=1) for x in (values, columns))
    return values, columns


def _select_first(row: torch.Tensor, bound: float, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return values and columns of those above a bound, and the first equal ones, k in all."""
    above = (row > bound).nonzero().flatten()
    tied = (row == bound).nonzero().flatten()
    chosen = torch.cat([above, tied[: k - len(above)]])
    values, columns = _fetch(row[chosen], chosen)
    return values, columns


def _fetch(*tensors: torch.Tensor) -> list[np.ndarray]:
    """Copy tensors of one device to the host with one wait."""
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
    if tensors[0].is_cuda:
        torch.cuda.current_stream(tensors[0].device).synchronize()
    return [copy.numpy() for copy in copies]


def _fill(space: torch.Tensor, embeddings: Sequence[bytes]) -> None:
    """Write float32 rows to a part of a chunk; a GPU reads them from pinned memory."""
    is_direct = space.device.type == "cpu" and space.dtype == torch.float32
    pinned = space.is_cuda
    rows = space if is_direct else torch.empty(space.shape, pin_memory=pinned)
    form = f"{4 * space.shape[1]}s" * len(embeddings)
    struct.pack_into(form, rows.numpy().data.cast("B"), 0, *embeddings)
    if not is_direct:
        space.copy_(rows, non_blocking=True)  # the pinned memory is used again only after it


def _compact(chunk: torch.Tensor, mask: np.ndarray, piece: int) -> int:
    """Move the rows of a mask to the start of a chunk, piece by piece; return their number."""
    end = 0
    for start in range(0, len(mask), piece):
        share = torch.from_numpy(mask[start : start + piece]).to(chunk.device)
        kept = chunk[start : start + len(share)][share]
        chunk[end : end + len(kept)] = kept
        end += len(kept)
    return end


def _multiply_all(
    queries: torch.Tensor, tables: Iterator[torch.Tensor], count: int
) -> torch.Tensor:
    """Return the inner products (Q, count) of queries and the rows of several tables."""
    products = torch.empty(len(queries), count, device=queries.device)
    start = 0
    for table in tables:
        stop = start + len(table)
        _multiply(queries, table.float(), products[:, start:stop])
        start = stop
    return products


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
