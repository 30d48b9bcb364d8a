"""The embedded engine of the gallery store: one SQLite file, searched in memory."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from clsa_search.errors import InputError
from clsa_search.gallery.followed_index import FollowedIndex
from clsa_search.gallery.input_checks import (
    check_ids,
    check_listing,
    check_progress,
    check_queries,
    check_relink,
    check_weights,
    join_images,
    select_filled,
)
from clsa_search.gallery.sqlite_connection import INDEX_SECONDS
from clsa_search.gallery.sqlite_sightings import SQLiteTracklets
from clsa_search.gallery.sqlite_tables import SQLiteTables
from clsa_search.gallery.sqlite_upkeep import SQLiteUpkeep
from clsa_search.gallery.store import (
    GalleryStore,
    Order,
    Per,
    make_matches,
    select_detections,
)
from clsa_search.gallery.store_records import (
    Filter,
    GalleryImage,
    IndexProgress,
    Match,
    SearchHits,
    Source,
    StoredDetection,
)
from clsa_search.json_files import parse_json


class SQLiteStore(SQLiteTracklets, SQLiteUpkeep, GalleryStore):
    """A gallery in one SQLite file; see `GalleryStore`.

    The first search loads the embeddings. Later searches load and remove what this or another
    process has added and deleted since. Threads may share a store; processes open their own.

    Args:
        address, weights, create, about, device, dtype: see `open_store`.
    """

    def __init__(
        self,
        address: str | os.PathLike,
        *,
        weights: str | None = None,
        create: bool = False,
        about: Mapping[str, str] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.address = os.fspath(address)
        if create and not weights:
            raise InputError(f"{address}: weights: {weights!r}; expected the hash of those used")
        if dtype not in (torch.float32, torch.float16):
            raise InputError(f"{address}: dtype: {dtype}; expected float32 or float16")
        self._may_add = weights is not None
        device = torch.device(device)
        tables = SQLiteTables(
            Path(address), create_for=weights if create else None, about=about or {}
        )
        super().__init__(tables, device=device, dtype=dtype)
        self._detections = FollowedIndex(tables, of_tracklets=False, device=device, dtype=dtype)
        try:
            check_weights(self.address, weights, self.weights)
        except InputError:
            self.close()
            raise

    @property
    def weights(self) -> str:
        """See `GalleryStore`."""
        return self._tables.read_gallery().weights

    @property
    def width(self) -> int | None:
        """See `GalleryStore`."""
        return self._tables.read_gallery().width

    @property
    def about(self) -> dict[str, str]:
        """See `GalleryStore`."""
        return parse_json(self._tables.read_gallery().about, f"{self.address}: notes")

    def add(
        self, images: Sequence[GalleryImage], progress: Sequence[IndexProgress] = ()
    ) -> np.ndarray:
        """See `GalleryStore`."""
        if not self._may_add:
            raise InputError(f"{self.address}: was opened without weights; expected their hash")
        images = select_filled(self.address, images)
        batch = join_images(self.address, images, self.width) if images else None
        with self._tables.writing("add", patience=INDEX_SECONDS):
            known = self._tables.read_progress([one.source for one in progress])
            check_progress(self.address, progress, known)
            for one in progress:
                if one.replaces is not None and one.keeps_drawn:
                    self._tables.delete_indexed(one.source)
                elif one.replaces is not None:
                    self._tables.delete_source(one.source)
            ids = np.empty(0, np.int64) if batch is None else self._tables.insert(images, batch)
            self._tables.write_progress(progress)
        return ids

    def delete(self, source: str) -> int:
        """See `GalleryStore`."""
        with self._tables.writing("delete"):
            return self._tables.delete_source(source)

    def relink(self, source: str, path: str, fingerprint: str | None) -> int:
        """See `GalleryStore`."""
        with self._tables.writing("relink"):
            known = self._tables.read_progress([source, path])
            check_relink(self.address, source, path, known)
            number = self._tables.relink_source(source, path, fingerprint)
            return len(self._tables.list_detections_of(number))

    def count(self, where: Filter | None = None) -> int:
        """See `GalleryStore`."""
        with self._tables.reading():
            if where is None or not self._detections.is_loaded:
                return self._tables.count(where)
            index = self._detections.load()  # its columns are at hand: quicker than the file
            return 0 if index is None else len(self._select(index, where) or ())

    def sources(self) -> list[Source]:
        """See `GalleryStore`."""
        return self._tables.read_sources()

    def paths(self) -> list[str]:
        """See `GalleryStore`."""
        return self._tables.list_paths()

    def cameras(self) -> list[str]:
        """See `GalleryStore`."""
        return self._tables.list_cameras()

    def search_ids(
        self,
        embeddings: np.ndarray | torch.Tensor,
        k: int,
        where: Filter | None = None,
        per: Per = "match",
    ) -> SearchHits:
        """See `GalleryStore`."""
        queries = check_queries(self.address, embeddings, self._detections.width, k, per)
        with self._tables.reading():
            index = self._detections.load()
            if index is None:
                return SearchHits.empty(len(queries))
            selection = self._select(index, where)
            return index.search(queries, k, selection, per_group=per == "image")

    def search(
        self,
        embeddings: np.ndarray | torch.Tensor,
        k: int,
        where: Filter | None = None,
        per: Per = "match",
    ) -> list[list[Match]]:
        """See `GalleryStore`."""
        with self._tables.reading():
            hits = self.search_ids(embeddings, k, where, per)
            return make_matches(hits, self._tables.read(np.unique(hits.ids).tolist()))

    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredDetection]:
        """See `GalleryStore`."""
        wanted = check_ids(self.address, ids)
        return select_detections(self.address, wanted, self._tables.read(wanted))

    def scan(self, after: int = 0, limit: int = 1000) -> list[StoredDetection]:
        """See `GalleryStore`."""
        with self._tables.reading():
            query = "id FROM detections WHERE id > ? ORDER BY id LIMIT ?"
            return self.get([row[0] for row in self._tables.select(query, after, limit)])

    def list_drawn(self, sources: Sequence[str]) -> list[StoredDetection]:
        """See `GalleryStore`."""
        with self._tables.reading():
            return self.get(self._tables.list_drawn(list(sources)))

    def list(
        self,
        where: Filter | None = None,
        order_by: Order = "id",
        limit: int | None = None,
        offset: int = 0,
    ) -> list[StoredDetection]:
        """See `GalleryStore`."""
        check_listing(self.address, order_by, limit, offset)
        with self._tables.reading():
            return self.get(self._tables.list_ids(where, order_by, limit, offset))

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `GalleryStore`."""
        with self._tables.reading():
            yield

    def close(self) -> None:
        """See `GalleryStore`."""
        self._tables.close()
        self._detections.drop()
        self._tracklets.drop()
