"""The embedded engine: one SQLite file, searched in memory."""

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from clsa_search.errors import InputError
from clsa_search.gallery.embedding_index import SOURCE_SHIFT, EmbeddingIndex
from clsa_search.gallery.gallery_images import Batch, GalleryImage, join_scenes
from clsa_search.gallery.sqlite_file import connect, reported, transaction
from clsa_search.gallery.store import (
    Filter,
    GalleryStore,
    IndexProgress,
    Matches,
    Source,
    StoredDetection,
    check_progress,
    check_queries,
    check_weights,
)

_READ_ROWS = 2048  # at a time while loading


class SQLiteStore(GalleryStore):
    """See `GalleryStore` and `open_store`.

    The first search loads the embeddings; later ones add what came and remove what went since,
    whichever process did it. Threads may share a store; processes open their own.
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
        self._seen: tuple[int, int] | None = None  # state of the file that the index is of
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
        self, scenes: Sequence[GalleryImage], progress: Sequence[IndexProgress] = ()
    ) -> np.ndarray:
        if not self._may_add:
            raise InputError(f"{self.address}: was opened without weights; expected their hash")
        scenes = [scene for scene in scenes if np.size(scene.scores)]
        batch = join_scenes(self.address, scenes, self.width) if scenes else None
        with self._writing("add"):
            query = "path, fingerprint, next_frame FROM sources WHERE path = ?"
            known = [row for one in progress for row in self._select(query, one.source)]
            check_progress(self.address, progress, {row[0]: row[1:] for row in known})
            for one in progress:
                if one.replaces is not None:
                    self._forget(one.source)
            row_ids = np.empty(0, np.int64) if batch is None else self._insert(scenes, batch)
            self._connection.executemany(
                "UPDATE sources SET fingerprint = ?, next_frame = ? WHERE id = ?",
                [(one.fingerprint, one.next_frame, self._register(one.source)) for one in progress],
            )
        return row_ids

    def delete(self, source: str) -> int:
        with self._writing("delete"):
            return self._forget(source)

    def count(self, where: Filter | None = None) -> int:
        if where is None:
            return self._select("count(*) FROM detections")[0][0]
        with self._loaded() as index:
            return 0 if index is None else int(self._mask(index, where).sum())

    def sources(self) -> list[Source]:
        rows = self._select(
            "path, fingerprint, next_frame, count(detections.id) FROM sources "
            "LEFT JOIN detections ON source = sources.id GROUP BY sources.id ORDER BY sources.id"
        )
        return [Source(*row) for row in rows]

    def search(
        self,
        queries: np.ndarray | torch.Tensor,
        k: int,
        where: Filter | None = None,
        per: Literal["image", "match"] = "match",
    ) -> Matches:
        queries = check_queries(self.address, queries, self.width, k, per)
        with self._loaded() as index:
            if index is None:
                shape = len(queries), 0
                return Matches(np.empty(shape, np.int64), np.empty(shape, np.float32))
            mask = None if where is None else self._mask(index, where)
            return index.search(queries, k, mask, per_image=per == "image")

    def get(self, row_ids: Sequence[int] | np.ndarray) -> list[StoredDetection]:
        entries = []
        for row_id in np.asarray(row_ids, dtype=np.int64).tolist():
            found = self._read_entries("detections.id = ?", row_id)
            if not found:
                raise InputError(f"{self.address}: there is no row {row_id}; expected one stored")
            entries += found
        return entries

    def scan(self, after: int = 0, limit: int = 1000) -> list[StoredDetection]:
        condition = "detections.id > ? ORDER BY detections.id LIMIT ?"
        return self._read_entries(condition, after, limit)

    def cameras(self) -> list[str]:
        with self._loaded() as index:
            return [] if index is None else index.list_cameras()

    def close(self) -> None:
        with self._lock:
            self._index = None
            self._connection.close()

    def _forget(self, source: str) -> int:
        """Delete a source and its rows; gives their number."""
        found = self._select("id FROM sources WHERE path = ?", source)
        if not found:
            return 0
        execute = self._connection.execute
        rows = execute("DELETE FROM detections WHERE source = ?", found[0]).rowcount
        execute("DELETE FROM sources WHERE id = ?", found[0])
        if rows:
            execute("INSERT INTO deletions (source) VALUES (?)", found[0])
        return rows

    def _insert(self, scenes: Sequence[GalleryImage], batch: Batch) -> np.ndarray:
        """Write the rows of a batch; gives their ids."""
        width, first = self._select("width, next_row FROM gallery")[0]
        if width not in (None, batch.embeddings.shape[1]):  # another process was first
            raise InputError(
                f"{self.address}: holds embeddings of width {width}; "
                f"expected this, not {batch.embeddings.shape[1]}"
            )
        paths = dict.fromkeys(scene.source for scene in scenes)
        sources = {path: self._register(path) for path in paths}
        labels = [(sources[scene.source], *_plain(scene)) for scene in scenes]
        numbers = batch.scene.tolist(), batch.boxes.tolist(), batch.scores.tolist()
        rows = enumerate(zip(*numbers, batch.embeddings, strict=True), start=first)
        self._connection.executemany(
            "INSERT INTO detections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((i, *labels[scene], *box, score, row) for i, (scene, box, score, row) in rows),
        )
        stop = first + len(batch.scene)
        settings = batch.embeddings.shape[1], stop
        self._connection.execute("UPDATE gallery SET width = ?, next_row = ?", settings)
        return np.arange(first, stop)

    def _read_entries(self, condition: str, *values: object) -> list[StoredDetection]:
        rows = self._select(
            "detections.id, path, frame, time, camera, x0, y0, x1, y1, score, embedding "
            f"FROM detections JOIN sources ON source = sources.id WHERE {condition}",
            *values,
        )
        entries = []
        for *labels, x0, y0, x1, y1, score, embedding in rows:
            if len(embedding) % 4:
                raise InputError(f"{self.address}: row {labels[0]}: its embedding is damaged")
            values = np.frombuffer(embedding, dtype="<f4")
            entries.append(StoredDetection(*labels, (x0, y0, x1, y1), score, values))
        return entries

    def _select(self, query: str, *values: object) -> list[tuple]:
        with self._lock, reported(self._path, "read"):
            return self._connection.execute(f"SELECT {query}", values).fetchall()

    @contextmanager
    def _writing(self, action: str) -> Iterator[None]:
        with self._lock, reported(self._path, action):
            with transaction(self._connection, "IMMEDIATE"):
                yield
            self._writes += 1

    def _register(self, path: str) -> int:
        """Id of a source, new or known."""
        self._connection.execute("INSERT OR IGNORE INTO sources (path) VALUES (?)", (path,))
        return self._select("id FROM sources WHERE path = ?", path)[0][0]

    def _mask(self, index: EmbeddingIndex, where: Filter) -> np.ndarray:
        wanted = [self._select("id FROM sources WHERE path = ?", p) for p in where.sources or ()]
        return index.select(where, [row[0] for rows in wanted for row in rows])

    @contextmanager
    def _loaded(self) -> Iterator[EmbeddingIndex | None]:
        """The index in step with the file; None as long as nothing was ever added."""
        with self._lock, reported(self._path, "read"):
            # data_version changes when others write; asked for before reading: a change in between
            # is at worst read twice
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            width = self.width
            if self._seen != (version, self._writes) and width is not None:
                try:
                    self._catch_up(width)
                except BaseException:  # half of a change may be in it
                    self._index = None
                    raise
                self._seen = version, self._writes
            yield self._index

    def _catch_up(self, width: int) -> None:
        if self._index is None:
            self._index = EmbeddingIndex(width, device=self._device, dtype=self._dtype)
            self._last_deletion = 0
        index = self._index
        with transaction(self._connection, "DEFERRED"):
            deletions = self._select("id, source FROM deletions WHERE id > ?", self._last_deletion)
            if deletions:
                index.remove([source for _, source in deletions])
                self._last_deletion = deletions[-1][0]
            rows = self._connection.execute(
                f"SELECT id, source << {SOURCE_SHIFT} | ifnull(frame + 1, 0), camera, time, score, "
                "embedding FROM detections WHERE id > ? ORDER BY id",
                (index.last_row_id,),
            )
            while piece := rows.fetchmany(_READ_ROWS):
                index.append(piece)


def _plain(scene: GalleryImage) -> tuple[int | None, float | None, str | None]:
    """Frame, time and camera as SQLite takes them: NumPy's numbers it does not."""
    frame = None if scene.frame is None else int(scene.frame)
    return frame, None if scene.time is None else float(scene.time), scene.camera
