"""An index in memory that follows the changes of a gallery's file."""

import torch

from clsa_search.gallery.embedding_index import EmbeddingIndex
from clsa_search.gallery.sqlite_revisions import GONE
from clsa_search.gallery.sqlite_tables import SQLiteTables


class FollowedIndex:
    """The detections, or the tracklets, of a file.

    The first use loads them. Later uses load and remove what this or another process has changed.

    Args:
        tables: the file.
        of_tracklets: hold tracklets, not detections.
        device: device of the search.
        dtype: type of the embeddings in memory.
    """

    def __init__(
        self,
        tables: SQLiteTables,
        *,
        of_tracklets: bool,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> None:
        self._tables = tables
        self._of_tracklets = of_tracklets
        self._device, self._dtype = torch.device(device), dtype
        self._index: EmbeddingIndex | None = None
        self._state: tuple[int, int] | None = None  # of the file
        self._last_deletion = self._last_revision = 0

    @property
    def is_loaded(self) -> bool:
        """Whether there is an index, maybe of an earlier state of the file."""
        return self._index is not None

    @property
    def width(self) -> int | None:
        """Embedding width; None before the first detection."""
        return self._tables.read_gallery().width if self._index is None else self._index.width

    def load(self) -> EmbeddingIndex | None:
        """Return the index in the state of this transaction; None before the first detection."""
        state = self._tables.read_version()
        if self._state != state and (width := self._tables.read_gallery().width) is not None:
            try:
                self._update(width)
            except BaseException:  # it may hold half of a change
                self.drop()
                raise
            self._state = state
        return self._index

    def load_by(self, tables: SQLiteTables) -> None:
        """Load the index by another connection to the file: this one is not held up.

        Args:
            tables: the other connection.
        """
        kind = self._of_tracklets
        other = FollowedIndex(tables, of_tracklets=kind, device=self._device, dtype=self._dtype)
        with tables.reading():
            index = other.load()
        with self._tables.reading():
            if self._index is None:  # the next use loads what has changed since
                self._index = index
                self._last_deletion = other._last_deletion
                self._last_revision = other._last_revision

    def drop(self) -> None:
        """Free the memory."""
        self._index = self._state = None

    def _update(self, width: int) -> None:
        if self._index is None:
            count = self._tables.count(None)
            self._index = EmbeddingIndex(
                width, device=self._device, dtype=self._dtype, expected=count
            )
            self._last_deletion = self._last_revision = 0
        self._forget(self._index)
        if self._of_tracklets:
            for rows in self._tables.load_tracklets(self._index.last_id, width):
                self._index.append_tracklets(rows)
        else:
            for rows in self._tables.load_rows(self._index.last_id, width):
                self._index.append(rows)

    def _forget(self, index: EmbeddingIndex) -> None:
        """Remove what is deleted or changed in the file."""
        deletions = self._tables.list_deletions(self._last_deletion)
        revisions = self._tables.list_revisions(self._last_revision)
        if deletions:
            index.remove([source for _, source in deletions])
            self._last_deletion = deletions[-1][0]
        if revisions:
            gone = [first for _, first, kind in revisions if kind == GONE]
            others = [(first, kind) for _, first, kind in revisions if kind != GONE]
            changed = [first for first, both in others if both or self._of_tracklets]
            self._last_revision = revisions[-1][0]
            if gone:
                index.remove_ids(gone)
            if changed:
                index.truncate(min(changed))
