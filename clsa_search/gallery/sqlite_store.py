"""The embedded engine of the gallery store: one SQLite file, searched in memory."""

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from clsa_search.errors import InputError
from clsa_search.gallery.embedding_index import SOURCE_SHIFT, EmbeddingIndex
from clsa_search.gallery.input_checks import (
    check_progress,
    check_queries,
    check_weights,
    join_images,
)
from clsa_search.gallery.sqlite_file import connect, reported, transaction
from clsa_search.gallery.store import GalleryStore, Per, make_matches
from clsa_search.gallery.store_records import (
    Filter,
    GalleryImage,
    IndexProgress,
    Match,
    SearchHits,
    Source,
    StoredDetection,
)
from clsa_search.structures import ImageDetections, Ragged

_LOAD_ROWS = 2048  # read at a time while loading


class SQLiteStore(GalleryStore):
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
        self._path = Path(address)
        self._may_add = weights is not None
        self._device, self._dtype = torch.device(device), dtype
        self._lock = threading.RLock()
        self._index: EmbeddingIndex | None = None
        self._index_state: tuple[int, int] | None = None  # state of the file in the index
        self._writes = 0
        self._last_deletion = 0
        self._connection = connect(
            self._path, create_for=weights if create else None, about=about or {}
        )
        try:
            check_weights(self.address, weights, self.weights)
        except InputError:
            self.close()
            raise

    @property
    def weights(self) -> str:
        return self._select("weights FROM gallery")[0][0]

    @property
    def width(self) -> int | None:
        return self._select("width FROM gallery")[0][0]

    @property
    def about(self) -> dict[str, str]:
        return json.loads(self._select("about FROM gallery")[0][0])

    def add(
        self, images: Sequence[GalleryImage], progress: Sequence[IndexProgress] = ()
    ) -> np.ndarray:
        if not self._may_add:
            raise InputError(f"{self.address}: was opened without weights; expected their hash")
        images = [image for image in images if np.size(image.detections.scores)]
        batch = join_images(self.address, images, self.width) if images else None
        with self._writing("add"):
            query = "path, fingerprint, next_frame FROM sources WHERE path = ?"
            known = [row for one in progress for row in self._select(query, one.source)]
            check_progress(self.address, progress, {row[0]: row[1:] for row in known})
            for one in progress:
                if one.replaces is not None:
                    self._delete_source(one.source)
            ids = np.empty(0, np.int64) if batch is None else self._insert(images, batch)
            self._connection.executemany(
                "UPDATE sources SET fingerprint = ?, next_frame = ? WHERE id = ?",
                [(one.fingerprint, one.next_frame, self._register(one.source)) for one in progress],
            )
        return ids

    def delete(self, source: str) -> int:
        with self._writing("delete"):
            return self._delete_source(source)

    def count(self, where: Filter | None = None) -> int:
        if where is None:
            return self._select("count(*) FROM detections")[0][0]
        with self._reading():
            index = self._load_index()
            return 0 if index is None else int(self._mask(index, where).sum())

    def sources(self) -> list[Source]:
        rows = self._select(
            "path, fingerprint, next_frame, count(detections.id) FROM sources "
            "LEFT JOIN detections ON source = sources.id GROUP BY sources.id ORDER BY sources.id"
        )
        return [Source(*row) for row in rows]

    def cameras(self) -> list[str]:
        with self._reading():
            index = self._load_index()
            return [] if index is None else index.list_cameras()

    def search_ids(
        self,
        queries: np.ndarray | torch.Tensor,
        k: int,
        where: Filter | None = None,
        per: Per = "match",
    ) -> SearchHits:
        queries = check_queries(self.address, queries, self.width, k, per)
        with self._reading():
            index = self._load_index()
            if index is None:
                return SearchHits.empty(len(queries))
            mask = None if where is None else self._mask(index, where)
            return index.search(queries, k, mask, per_image=per == "image")

    def search(
        self,
        queries: np.ndarray | torch.Tensor,
        k: int,
        where: Filter | None = None,
        per: Per = "match",
    ) -> list[list[Match]]:
        with self._reading():
            hits = self.search_ids(queries, k, where, per)
            return make_matches(hits, self._read(np.unique(hits.ids).tolist()))

    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredDetection]:
        ids = np.asarray(ids, dtype=np.int64).tolist()
        found = self._read(ids)
        missing = [detection_id for detection_id in ids if detection_id not in found]
        if missing:
            raise InputError(
                f"{self.address}: there is no detection {missing[0]}; expected a stored one"
            )
        return [found[detection_id] for detection_id in ids]

    def scan(self, after: int = 0, limit: int = 1000) -> list[StoredDetection]:
        with self._reading():
            query = "id FROM detections WHERE id > ? ORDER BY id LIMIT ?"
            ids = [row[0] for row in self._select(query, after, limit)]
            return self.get(ids)

    def close(self) -> None:
        with self._lock:
            self._index = None
            self._connection.close()

    def _delete_source(self, source: str) -> int:
        """Delete a source and its detections; return their number."""
        found = self._select("id FROM sources WHERE path = ?", source)
        if not found:
            return 0
        execute = self._connection.execute
        count = execute("DELETE FROM detections WHERE source = ?", found[0]).rowcount
        execute("DELETE FROM sources WHERE id = ?", found[0])
        if count:
            execute("INSERT INTO deletions (source) VALUES (?)", found[0])
        return count

    def _insert(self, images: Sequence[GalleryImage], batch: Ragged[ImageDetections]) -> np.ndarray:
        """Insert the detections of a batch; return their ids."""
        width, first = self._select("width, next_id FROM gallery")[0]
        boxes, scores, embeddings = vars(batch.values).values()
        if width not in (None, embeddings.shape[1]):  # another process was first
            raise InputError(
                f"{self.address}: holds embeddings of width {width}; "
                f"expected this, not {embeddings.shape[1]}"
            )
        paths = dict.fromkeys(image.source for image in images)
        sources = {path: self._register(path) for path in paths}
        shared = [(sources[image.source], *_to_columns(image)) for image in images]
        columns = batch.owners.tolist(), boxes.tolist(), scores.tolist(), embeddings
        rows = enumerate(zip(*columns, strict=True), start=first)
        self._connection.executemany(
            "INSERT INTO detections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (detection_id, *shared[image], *box, score, embedding)
                for detection_id, (image, box, score, embedding) in rows
            ),
        )
        stop = first + len(batch.values)
        settings = embeddings.shape[1], stop
        self._connection.execute("UPDATE gallery SET width = ?, next_id = ?", settings)
        return np.arange(first, stop)

    def _read(self, ids: Sequence[int]) -> dict[int, StoredDetection]:
        """Return the stored ones of these detections by id."""
        rows = self._select(
            "detections.id, path, frame, time, camera, x0, y0, x1, y1, score, embedding "
            "FROM detections JOIN sources ON source = sources.id "
            "WHERE detections.id IN (SELECT value FROM json_each(?))",
            json.dumps(ids),
        )
        found = {}
        for detection_id, *fields, x0, y0, x1, y1, score, embedding in rows:
            if len(embedding) % 4:
                raise InputError(
                    f"{self.address}: detection {detection_id}: its embedding is damaged"
                )
            row = np.frombuffer(embedding, dtype="<f4")
            found[detection_id] = StoredDetection(
                detection_id, *fields, (x0, y0, x1, y1), score, row
            )
        return found

    def _select(self, query: str, *values: object) -> list[tuple]:
        with self._lock, reported(self._path, "read"):
            return self._connection.execute(f"SELECT {query}", values).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Read one state of the file in the block."""
        with self._lock, reported(self._path, "read"):
            if self._connection.in_transaction:  # of this thread, as it holds the lock
                yield
                return
            with transaction(self._connection, "DEFERRED"):
                yield

    @contextmanager
    def _writing(self, action: str) -> Iterator[None]:
        with self._lock, reported(self._path, action):
            with transaction(self._connection, "IMMEDIATE"):
                yield
            self._writes += 1

    def _register(self, path: str) -> int:
        """Return the id of a source, new or known."""
        self._connection.execute("INSERT OR IGNORE INTO sources (path) VALUES (?)", (path,))
        return self._select("id FROM sources WHERE path = ?", path)[0][0]

    def _mask(self, index: EmbeddingIndex, where: Filter) -> np.ndarray:
        wanted = [self._select("id FROM sources WHERE path = ?", p) for p in where.sources or ()]
        return index.select(where, [row[0] for rows in wanted for row in rows])

    def _load_index(self) -> EmbeddingIndex | None:
        """Return the index in the state of this transaction; None if nothing was ever added."""
        # the first statement of a transaction: it fixes the state that the next ones read
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        width = self.width
        if self._index_state != (version, self._writes) and width is not None:
            try:
                self._update_index(width)
            except BaseException:  # half of a change may be in it
                self._index = None
                raise
            self._index_state = version, self._writes
        return self._index

    def _update_index(self, width: int) -> None:
        if self._index is None:
            self._index = EmbeddingIndex(width, device=self._device, dtype=self._dtype)
            self._last_deletion = 0
        index = self._index
        deletions = self._select("id, source FROM deletions WHERE id > ?", self._last_deletion)
        if deletions:
            index.remove([source for _, source in deletions])
            self._last_deletion = deletions[-1][0]
        rows = self._connection.execute(
            f"SELECT id, source << {SOURCE_SHIFT} | ifnull(frame + 1, 0), camera, time, score, "
            "embedding FROM detections WHERE id > ? ORDER BY id",
            (index.last_id,),
        )
        while piece := rows.fetchmany(_LOAD_ROWS):
            index.append(piece)


def _to_columns(image: GalleryImage) -> tuple[int | None, float | None, str | None]:
    """Return frame, time and camera for SQLite, which takes no numbers of NumPy."""
    frame = None if image.frame is None else int(image.frame)
    return frame, None if image.time is None else float(image.time), image.camera
