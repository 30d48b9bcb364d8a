"""The engine of the gallery store for more than one machine: a Milvus server, or milvus-lite."""

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from clsa_search.errors import InputError, missing_gallery
from clsa_search.gallery.detection_origins import tell_origin
from clsa_search.gallery.input_checks import (
    check_ids,
    check_listing,
    check_queries,
    check_weights,
    join_images,
    select_filled,
)
from clsa_search.gallery.milvus_detections import DetectionTable
from clsa_search.gallery.milvus_notes import NoteTable
from clsa_search.gallery.milvus_origins import DEFAULT, ORIGIN, add_place
from clsa_search.gallery.milvus_ranking import check_k, rank_rows, write_condition
from clsa_search.gallery.milvus_server import connect, reported
from clsa_search.gallery.milvus_sources import FIELDS as SOURCE_FIELDS
from clsa_search.gallery.milvus_sources import SourceTable
from clsa_search.gallery.milvus_table import Table
from clsa_search.gallery.milvus_tracklets import MilvusTracklets
from clsa_search.gallery.milvus_upkeep import MilvusUpkeep
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

SCHEMA_VERSION = 2
_TRIES = 3  # of a search while other processes delete its matches


class MilvusStore(MilvusTracklets, MilvusUpkeep, GalleryStore):
    """A gallery on a Milvus server; see `GalleryStore`.

    A gallery is two collections, GALLERY_detections and GALLERY_sources. The index is FLAT and
    reads are strongly consistent: results equal those of the embedded engine, similarities up to
    rounding. A server has no transactions, so these guarantees differ:

    - Searches find detections from the moment of insertion, shortly before the progress of their
      source is stored. The next add or delete of a source removes the detections of an
      interrupted add.
    - Of two simultaneous adds to one source, one raises IndexConflict, also without progress. Two
      adds may both succeed if they begin within the same milliseconds.
    - Ids are claimed before insertion, see `NoteTable.claim_ids`. They ascend in the order of
      claims; detections of two simultaneous adds may be found in the other order. In galleries of
      earlier versions they come from the server, see `MilvusUpkeep.check_ids_stay`.
    - k is at most 16,384. Ties are in the order of ids among up to so many detections of equal
      similarity; of more, the server chooses.
    - Sources, images and cameras are distinguished by keys of 63 bits. The second of two sources
      with equal keys is refused.
    - `list` reads the ids of all detections in the filter, except in the order of ids.

    The tests run on milvus-lite. Several proxies, the order of ties, limits of requests and login
    of a real server are not tested.

    Args:
        address: http://HOST:PORT/GALLERY, or with https; or milvus-lite://FILE.db, an absolute or
            relative path. The environment variable MILVUS_TOKEN logs in.
        weights, create, about: see `open_store`.
    """

    def __init__(
        self,
        address: str,
        *,
        weights: str | None = None,
        create: bool = False,
        about: Mapping[str, str] | None = None,
    ) -> None:
        if create and not weights:
            raise InputError(f"{address}: weights: {weights!r}; expected the hash of those used")
        self.address = address
        self._may_add = weights is not None
        self._lock = threading.Lock()  # milvus-lite accepts one writer at a time
        self._client, gallery = connect(address, create=create)
        self._notes = NoteTable(self._client, address, f"{gallery}_notes")
        self._detections = DetectionTable(
            self._client, address, f"{gallery}_detections", notes=self._notes
        )
        try:
            table = Table(self._client, address, f"{gallery}_sources")
            self._sources = SourceTable(table, self._detections)
            self._gallery = self._open(table, weights if create else None, about or {})
            self._open_notes()
            check_weights(address, weights, self.weights)
        except BaseException:
            self.close()
            raise

    @property
    def weights(self) -> str:
        """See `GalleryStore`."""
        return self._gallery["weights"]

    @property
    def width(self) -> int | None:
        """See `GalleryStore`."""
        return self._detections.width

    @property
    def about(self) -> dict[str, str]:
        """See `GalleryStore`."""
        return self._gallery["about"]

    def add(
        self, images: Sequence[GalleryImage], progress: Sequence[IndexProgress] = ()
    ) -> np.ndarray:
        """See `GalleryStore`."""
        if not self._may_add:
            raise InputError(f"{self.address}: was opened without weights; expected their hash")
        images = select_filled(self.address, images)
        batch = join_images(self.address, images, self.width) if images else None
        paths = dict.fromkeys([image.source for image in images] + [one.source for one in progress])
        if not paths:
            return np.empty(0, np.int64)
        ids: list[int] = []
        counts: Counter[str] = Counter()
        for image in images:
            counts[image.source] += len(image.detections)
        with self._lock, reported(self.address, "add"):
            if batch is not None:
                self._detections.create_for(batch.values.embeddings.shape[1])
            transaction = self._sources.begin(list(paths), progress, self._replace_notes)
            self._notes.place(progress)
            if batch is not None:
                videos = dict.fromkeys(one.source for one in images if one.frame is not None)
                self._notes.write_origins({path: {"linked": False} for path in videos})
                stored = {path: row["detections"] for path, row in transaction.rows.items()}
                self._notes.add_images(images, stored)
                ids = self._detections.insert_images(images, batch, transaction.number)
            self._sources.commit(transaction, progress, counts)
        return np.array(ids, dtype=np.int64)

    def delete(self, source: str) -> int:
        """See `GalleryStore`."""
        with self._lock, reported(self.address, "delete"):
            self._forget_notes(source)
            count = self._sources.delete(source)
            self._notes.forget(source)
            return count

    def relink(self, source: str, path: str, fingerprint: str | None) -> int:
        """See `GalleryStore`."""
        with self._lock, reported(self.address, "relink"):
            self.check_ids_stay(source)
            origin = self._notes.read_origins([source]).get(source)
            if origin is not None:
                is_video = any(source == one for one in self.unlinked()) or origin.get("tracklets")
                changes = {**origin, "path": path, "linked": not is_video}
            count = self._sources.relink(source, path, fingerprint)
            if origin is not None:
                self._notes.write_origins({path: changes})
                self._notes.forget(source)
            return count

    def count(self, where: Filter | None = None) -> int:
        """See `GalleryStore`."""
        if self.width is None:
            return 0
        with reported(self.address, "read"):
            return self._detections.count(write_condition(where))

    def sources(self) -> list[Source]:
        """See `GalleryStore`."""
        origins = self._notes.read_origins()
        return [add_place(one, origins.get(one.path, {})) for one in self._sources.read_all()]

    def cameras(self) -> list[str]:
        """See `GalleryStore`."""
        return [] if self.width is None else self._detections.list_cameras()

    def search_ids(
        self,
        embeddings: np.ndarray | torch.Tensor,
        k: int,
        where: Filter | None = None,
        per: Per = "match",
    ) -> SearchHits:
        """See `GalleryStore`."""
        checked = check_queries(self.address, embeddings, self.width, k, per).cpu().numpy()
        check_k(self.address, k)
        if self.width is None or not len(checked):
            return SearchHits.empty(len(checked))
        with reported(self.address, "search"):
            condition = write_condition(where)
        group = "image_key" if per == "image" else "id"
        return rank_rows(self._detections, checked, k, condition, group=group)

    def search(
        self,
        embeddings: np.ndarray | torch.Tensor,
        k: int,
        where: Filter | None = None,
        per: Per = "match",
    ) -> list[list[Match]]:
        """See `GalleryStore`."""
        for _ in range(_TRIES):
            hits = self.search_ids(embeddings, k, where, per)
            ids = np.unique(hits.ids).tolist()
            found = self._detections.read(ids)
            if len(found) == len(ids):  # else another process has deleted some since
                break
        return make_matches(hits, found)

    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredDetection]:
        """See `GalleryStore`."""
        wanted = check_ids(self.address, ids)
        return select_detections(self.address, wanted, self._detections.read(wanted))

    def scan(self, after: int = 0, limit: int = 1000) -> list[StoredDetection]:
        """See `GalleryStore`."""
        return [] if self.width is None else self._detections.read_next(after, limit)

    def list_drawn(self, sources: Sequence[str]) -> list[StoredDetection]:
        """See `GalleryStore`."""
        return self._detections.list_drawn(sources)

    def list(
        self,
        where: Filter | None = None,
        order_by: Order = "id",
        limit: int | None = None,
        offset: int = 0,
    ) -> list[StoredDetection]:
        """See `GalleryStore`."""
        check_listing(self.address, order_by, limit, offset)
        if self.width is None:
            return []
        with reported(self.address, "read"):
            condition = write_condition(where)
        ids = self._detections.list_ids(condition, order_by, limit, offset)
        found = self._detections.read(ids)
        return [found[one] for one in ids if one in found]  # others are deleted since

    def remove_partial(self) -> int:
        """See `GalleryStore`."""
        with self._lock:
            return self._sources.remove_partial()

    def close(self) -> None:
        """See `GalleryStore`."""
        self._client.close()

    def _open_notes(self) -> None:
        """Open the notes; bring those of an older gallery up to date.

        Its detections become tracklets of their own; its fingerprints tell of imported boxes.
        """
        self._notes.open_notes()
        state = self._notes.read_state()
        if state is None and self.width is not None:
            self._make_singles()
        if state is None or not state["origins"]:
            told = {one.path: tell_origin(one.fingerprint) for one in self._sources.read_all()}
            files = {path: {ORIGIN: origin} for path, origin in told.items() if origin != DEFAULT}
            self._notes.write_origins(files)
            self._notes.write_state({"origins": True})

    def _open(self, table: Table, create_for: str | None, about: Mapping[str, str]) -> dict:
        """Return the notes of the gallery, new or known."""
        if create_for is None and not table.exists():
            raise missing_gallery(self.address)
        table.open(SOURCE_FIELDS)
        if create_for is not None and self._sources.read_about() is None:
            values = {"version": SCHEMA_VERSION, "weights": create_for, "about": dict(about)}
            self._sources.write_about(json.dumps(values))
        text = self._sources.read_about()
        if text is None:
            raise InputError(f"{self.address}: is not a gallery; expected one made by this program")
        gallery = json.loads(text)
        if gallery["version"] != SCHEMA_VERSION:
            raise InputError(
                f"{self.address}: is a gallery of version {gallery['version']}; expected version "
                f"{SCHEMA_VERSION}: index again with this program, or use the program that made it"
            )
        return gallery
