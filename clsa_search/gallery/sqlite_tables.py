"""Sources and detections in the file of the embedded engine.

Shape letters: N detections of a batch.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery.embedding_index import SOURCE_SHIFT
from clsa_search.gallery.sqlite_file import SQLiteFile
from clsa_search.gallery.store_records import (
    Filter,
    GalleryImage,
    IndexProgress,
    Source,
    StoredDetection,
)
from clsa_search.structures import ImageDetections, Ragged

_LOAD_ROWS = 2048  # detections to load at a time
_ORDERS = {"id": "id", "time": "time, id", "score": "score DESC, id"}


class SQLiteTables(SQLiteFile):
    """Statements on the tables of a gallery's file; see `SQLiteFile` for the arguments."""

    def read_progress(self, paths: Sequence[str]) -> dict[str, tuple[str | None, int | None]]:
        """Return fingerprint and next frame of the known ones of some sources."""
        query = "path, fingerprint, next_frame FROM sources WHERE path = ?"
        rows = [row for path in paths for row in self.select(query, path)]
        return {path: (fingerprint, next_frame) for path, fingerprint, next_frame in rows}

    def write_progress(self, progress: Sequence[IndexProgress]) -> None:
        """Replace the progress of sources, new or known."""
        self.execute_many(
            "UPDATE sources SET fingerprint = ?, next_frame = ? WHERE id = ?",
            [(one.fingerprint, one.next_frame, self._add_source(one.source)) for one in progress],
        )

    def read_sources(self) -> list[Source]:
        """Return all sources in the order of adding."""
        rows = self.select(
            "path, fingerprint, next_frame, count(detections.id) FROM sources "
            "LEFT JOIN detections ON source = sources.id GROUP BY sources.id ORDER BY sources.id"
        )
        return [Source(*row) for row in rows]

    def find_sources(self, paths: Sequence[str]) -> list[int]:
        """Return the ids of the known ones of some sources."""
        found = [self.select("id FROM sources WHERE path = ?", path) for path in paths]
        return [row[0] for rows in found for row in rows]

    def delete_source(self, path: str) -> int:
        """Delete a source and its detections; return their number."""
        count = 0
        for source in self.find_sources([path]):
            count = self.execute("DELETE FROM detections WHERE source = ?", source)
            self.execute("DELETE FROM sources WHERE id = ?", source)
            if count:
                self.execute("INSERT INTO deletions (source) VALUES (?)", source)
        return count

    def insert(self, images: Sequence[GalleryImage], batch: Ragged[ImageDetections]) -> np.ndarray:
        """Insert the detections of a batch.

        Args:
            images: images of the batch.
            batch: their detections, see `join_images`.

        Returns:
            (N,) int64 ids.
        """
        width, first = self.select("width, next_id FROM gallery")[0]
        detections = batch.values
        new_width = detections.embeddings.shape[1]
        if width not in (None, new_width):  # another process was first
            raise InputError(
                f"{self.path}: holds embeddings of width {width}; expected this, not {new_width}"
            )
        paths = dict.fromkeys(image.source for image in images)
        sources = {path: self._add_source(path) for path in paths}
        shared = [(sources[image.source], *_to_columns(image)) for image in images]
        columns = batch.owners.tolist(), detections.boxes.tolist(), detections.scores.tolist()
        rows = enumerate(zip(*columns, detections.embeddings, strict=True), start=first)
        self.execute_many(
            "INSERT INTO detections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((i, *shared[image], *box, score, row) for i, (image, box, score, row) in rows),
        )
        stop = first + len(detections)
        self.execute("UPDATE gallery SET width = ?, next_id = ?", new_width, stop)
        return np.arange(first, stop)

    def read(self, ids: Sequence[int]) -> dict[int, StoredDetection]:
        """Return the stored ones of these detections by id."""
        rows = self.select(
            "detections.id, path, frame, time, camera, x0, y0, x1, y1, score, embedding "
            "FROM detections JOIN sources ON source = sources.id "
            "WHERE detections.id IN (SELECT value FROM json_each(?))",
            json.dumps(ids),
        )
        found = {}
        for detection_id, path, frame, time, camera, *box, score, embedding in rows:
            if len(embedding) % 4:
                raise InputError(f"{self.path}: detection {detection_id}: its embedding is damaged")
            values = np.frombuffer(embedding, dtype="<f4")
            found[detection_id] = StoredDetection(
                detection_id, path, frame, time, camera, tuple(box), score, values
            )
        return found

    def list_ids(
        self, where: Filter | None, order_by: str, limit: int | None, offset: int
    ) -> list[int]:
        """Return ids of detections; see `GalleryStore.list`."""
        condition, values = self._write_condition(where)
        query = f"id FROM detections{condition} ORDER BY {_ORDERS[order_by]} LIMIT ? OFFSET ?"
        rows = self.select(query, *values, -1 if limit is None else limit, offset)
        return [row[0] for row in rows]

    def count(self, where: Filter | None) -> int:
        """Return the number of detections in a filter."""
        condition, values = self._write_condition(where)
        return self.select(f"count(*) FROM detections{condition}", *values)[0][0]

    def list_cameras(self) -> list[str]:
        """Return the sorted names of the cameras."""
        rows = self.select("DISTINCT camera FROM detections WHERE camera IS NOT NULL")
        return sorted(row[0] for row in rows)

    def list_deletions(self, after: int) -> list[tuple[int, int]]:
        """Return (id, source id) of the deletions of sources with higher ids."""
        return self.select("id, source FROM deletions WHERE id > ? ORDER BY id", after)

    def load_rows(self, after: int, width: int) -> Iterator[list[tuple]]:
        """Yield lists of rows for `EmbeddingIndex.append`.

        Args:
            after: id; rows with higher ids are loaded.
            width: embedding width.

        Raises:
            sqlite3.DataError: an embedding has another width.
        """
        cursor = self.connection.execute(
            f"SELECT id, source << {SOURCE_SHIFT} | ifnull(frame + 1, 0), camera, time, score, "
            "embedding FROM detections WHERE id > ? ORDER BY id",
            (after,),
        )
        while rows := cursor.fetchmany(_LOAD_ROWS):
            for detection_id, *_, embedding in rows:
                if len(embedding) != 4 * width:
                    raise sqlite3.DataError(
                        f"detection {detection_id} holds {len(embedding)} bytes of {4 * width}"
                    )
            yield rows

    def _add_source(self, path: str) -> int:
        """Return the id of a source, new or known."""
        self.execute("INSERT OR IGNORE INTO sources (path) VALUES (?)", path)
        return self.find_sources([path])[0]

    def _write_condition(self, where: Filter | None) -> tuple[str, list[object]]:
        """Return a filter as WHERE clause and its values."""
        if where is None:
            return "", []
        sources = None if where.sources is None else self.find_sources(where.sources)
        min_score = None if where.min_score is None else np.float32(where.min_score)
        clauses: list[str] = []
        values: list[object] = []
        if sources is not None and len(sources) == 1:  # the index is in order of time then
            clauses, values = ["source = ?"], list(sources)
        elif sources is not None:
            clauses, values = ["source IN (SELECT value FROM json_each(?))"], [json.dumps(sources)]
        if where.cameras is not None:
            clauses.append("camera IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(where.cameras)))
        for comparison, bound in (
            ("time >=", where.since),
            ("time <=", where.until),
            ("score >=", min_score),
        ):
            if bound is not None:
                clauses.append(f"{comparison} ?")
                values.append(float(bound))
        return f" WHERE {' AND '.join(clauses)}" if clauses else "", values


def _to_columns(image: GalleryImage) -> tuple[int | None, float | None, str | None]:
    """Return frame, time and camera as Python's numbers: SQLite takes no others."""
    frame = None if image.frame is None else int(image.frame)
    return frame, None if image.time is None else float(image.time), image.camera
