"""Tracklets and notes of the embedded engine."""

from collections.abc import Collection, Sequence
from contextlib import closing

import numpy as np
import torch

from clsa_search.gallery.embedding_index import EmbeddingIndex, Selection
from clsa_search.gallery.followed_index import FollowedIndex
from clsa_search.gallery.input_checks import (
    check_ids,
    check_listing,
    check_queries,
    check_where,
)
from clsa_search.gallery.sqlite_connection import INDEX_SECONDS
from clsa_search.gallery.sqlite_tables import SQLiteTables
from clsa_search.gallery.store_records import (
    Filter,
    Note,
    SearchHits,
    StoredDetection,
    Tracklet,
)
from clsa_search.gallery.tracklet_checks import check_notes, check_tracklets, select_known
from clsa_search.gallery.tracklet_store import ReadNotes, TrackletOrder, TrackletStore


class SQLiteTracklets(TrackletStore):
    """Tracklets and notes in one SQLite file; see `TrackletStore`.

    Args:
        tables: the file.
        device, dtype: see `open_store`.
    """

    def __init__(
        self, tables: SQLiteTables, *, device: torch.device | str, dtype: torch.dtype
    ) -> None:
        self._tables = tables
        self._tracklets = FollowedIndex(tables, of_tracklets=True, device=device, dtype=dtype)

    def tracklets(
        self,
        where: Filter | None = None,
        order_by: TrackletOrder = "id",
        limit: int | None = None,
        offset: int = 0,
        *,
        embeddings: bool = False,
    ) -> list[Tracklet]:
        """See `TrackletStore`."""
        check_listing(self.address, order_by, limit, offset, ("id", "time"))
        with self._tables.reading():
            condition, values = self._tables.write_condition(where, first="first", last="last")
            rows = self._tables.list_tracklets(condition, values, order_by, limit, offset)
            return self._tables.to_tracklets(rows, embeddings=embeddings)

    def count_tracklets(self, where: Filter | None = None) -> int:
        """See `TrackletStore`."""
        with self._tables.reading():
            if self._tracklets.is_loaded:  # its columns are at hand: quicker than the file
                index = self._tracklets.load()
                if index is None:
                    return 0
                selection = self._select(index, where)
                return len(index) if selection is None else len(selection)
            condition, values = self._tables.write_condition(where, first="first", last="last")
            return self._tables.count_tracklets(condition, values)

    def get_tracklets(
        self, ids: Sequence[int] | np.ndarray, *, embeddings: bool = True
    ) -> list[Tracklet]:
        """See `TrackletStore`."""
        wanted = check_ids(self.address, ids)
        with self._tables.reading():
            rows = select_known(self.address, wanted, self._tables.read_tracklets(wanted))
            return self._tables.to_tracklets(rows, embeddings=embeddings)

    def chain_tracklets(self, chains: Sequence[int] | np.ndarray) -> list[Tracklet]:
        """See `TrackletStore`."""
        with self._tables.reading():
            rows = self._tables.read_chains(check_ids(self.address, chains))
            return self._tables.to_tracklets(rows, embeddings=False)

    def find_tracklets(self, detections: Sequence[int] | np.ndarray) -> list[int]:
        """See `TrackletStore`."""
        wanted = check_ids(self.address, detections)
        with self._tables.reading():
            found = self._tables.find_tracklets(wanted)
        return select_known(self.address, wanted, found, "detection")

    def tracklet_detections(self, tracklet_id: int) -> list[StoredDetection]:
        """See `TrackletStore`."""
        wanted = check_ids(self.address, [tracklet_id])
        with self._tables.reading():
            (row,) = select_known(self.address, wanted, self._tables.read_tracklets(wanted))
            return list(self._tables.read(self._tables.read_members(row)).values())

    def search_tracklets(
        self, embeddings: np.ndarray | torch.Tensor, k: int, where: Filter | None = None
    ) -> SearchHits:
        """See `TrackletStore`."""
        queries = check_queries(self.address, embeddings, self._tracklets.width, k, "match")
        with self._tables.reading():
            index = self._tracklets.load()
            if index is None:
                return SearchHits.empty(len(queries))
            return index.search(queries, k, self._select(index, where), per_group=True)

    def preload(self) -> None:
        """See `TrackletStore`."""
        if not self._tracklets.is_loaded:
            with closing(SQLiteTables(self._tables.path, create_for=None, about={})) as other:
                self._tracklets.load_by(other)

    def set_tracklets(
        self, source: str, tracklets: Sequence[Tracklet], members: Sequence[Sequence[int]]
    ) -> None:
        """See `TrackletStore`."""
        with self._tables.writing("link", patience=INDEX_SECONDS):
            row = self._tables.read_source(source)
            stored, width = (
                self._tables.list_detections_of(row.id),
                self._tables.read_gallery().width,
            )
            check_tracklets(self.address, source, tracklets, members, stored, width)
            self._tables.replace_tracklets(row.id, tracklets, members)
            self._tables.write_source(row._replace(linked=1))

    def reset_tracklets(self) -> None:
        """See `TrackletStore`."""
        with self._tables.writing("link", patience=INDEX_SECONDS):
            self._tables.reset_all_tracklets()

    def unlinked(self) -> list[str]:
        """See `TrackletStore`."""
        return self._tables.list_unlinked()

    def delete_detections(self, ids: Collection[int]) -> int:
        """See `TrackletStore`."""
        wanted = sorted(check_ids(self.address, list(ids)))
        with self._tables.writing("delete", patience=INDEX_SECONDS):
            return self._tables.delete_detections(wanted)

    def read_notes(self, kind: str, detection: int | None = None) -> ReadNotes:
        """See `TrackletStore`."""
        with self._tables.reading():
            return self._tables.read_notes(kind, detection)

    def note_state(self, kind: str) -> tuple[int, int]:
        """See `TrackletStore`."""
        with self._tables.reading():
            return self._tables.read_note_state(kind)

    def write_notes(self, notes: Sequence[Note], delete: Collection[int] = ()) -> list[int]:
        """See `TrackletStore`."""
        check_notes(self.address, notes)
        with self._tables.writing("write notes", patience=INDEX_SECONDS):
            return self._tables.write_notes(notes, check_ids(self.address, list(delete)))

    def _select(self, index: EmbeddingIndex, where: Filter | None) -> Selection | None:
        check_where(where)
        if where is None:
            return None
        return index.select(where, self._tables.find_sources(where.sources or ()))
