"""Sources and detections in the file of the embedded engine.

Shape letters: N detections of a batch.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery.checksums import check_searched, check_stored, sum_rows, sum_source
from clsa_search.gallery.input_checks import check_where
from clsa_search.gallery.sqlite_file import SQLiteFile
from clsa_search.gallery.sqlite_schema import IMAGE
from clsa_search.gallery.store_records import (
    Filter,
    GalleryImage,
    IndexProgress,
    Source,
    StoredDetection,
)
from clsa_search.structures import ImageDetections, Ragged

_LOAD_ROWS = 512  # detections to load at a time: they stay in the cache of a CPU
_ORDERS = {"id": "id", "time": "time, id", "score": "score DESC, id"}


class GalleryRow(NamedTuple):
    """The row of a gallery itself.

    Args:
        weights: hash of the model weights.
        about: notes of the creator as JSON.
        width: embedding width; None before the first detection.
        next_id: id of the next detection.
    """

    weights: str
    about: str
    width: int | None
    next_id: int


class SQLiteTables(SQLiteFile):
    """Statements on the tables of a gallery's file; see `SQLiteFile` for the arguments."""

    def read_gallery(self) -> GalleryRow:
        """Return the row of the gallery itself."""
        with self.reading():
            rows = self.select("weights, about, width, next_id FROM gallery")
            types = [tuple(map(type, row)) for row in rows]
            if types not in ([(str, str, int, int)], [(str, str, type(None), int)]):
                raise sqlite3.DataError("the table 'gallery' is damaged")
        return GalleryRow(*rows[0])

    def read_progress(self, paths: Sequence[str]) -> dict[str, tuple[str | None, int | None]]:
        """Return fingerprint and next frame of the known ones of some sources."""
        query = "path, fingerprint, next_frame FROM sources WHERE path = ?"
        rows = [row for path in paths for row in self.select(query, path)]
        return {path: (fingerprint, next_frame) for path, fingerprint, next_frame in rows}

    def write_progress(self, progress: Sequence[IndexProgress]) -> None:
        """Replace the progress of sources, new or known."""
        for one in progress:
            source = self._add_source(one.source)
            self._write_source(source, one.source, one.fingerprint, one.next_frame)

    def read_sources(self) -> list[Source]:
        """Return all sources in the order of adding."""
        with self.reading():
            rows = self._select_sources("TRUE")
            counts = dict(self.select("source, count(*) FROM detections GROUP BY source"))
            ((count,),) = self.select("count(*) FROM checksums")
            if sum(counts.values()) != count or not counts.keys() <= {row[0] for row in rows}:
                raise sqlite3.DataError("the numbers of detections disagree")
        return [
            Source(path, fingerprint, next_frame, counts.get(source, 0))
            for source, path, fingerprint, next_frame in rows
        ]

    def list_paths(self) -> list[str]:
        """Return the paths of all sources in the order of adding, damaged sources included."""
        rows = self.select("path FROM sources WHERE typeof(path) = 'text' ORDER BY id")
        return [row[0] for row in rows]

    def find_sources(self, paths: Sequence[str]) -> list[int]:
        """Return the ids of the known ones of some sources."""
        with self.reading():
            found = [row[0] for path in paths for row in self._select_sources("path = ?", path)]
            if len(found) < len(paths):  # unknown, or lost in a damaged index
                (answer,) = self.connection.execute("PRAGMA integrity_check(sources)").fetchone()
                if answer != "ok":
                    raise sqlite3.DataError(answer)
        return found

    def delete_source(self, path: str) -> int:
        """Delete a source and its detections, damaged or not; return their number."""
        count = 0
        stored = [row[0] for row in self.select("id FROM sources WHERE path = ?", path)]
        for source in stored or self.find_sources([path]):
            query = "SELECT id FROM detections WHERE source = ?"
            self.execute(f"DELETE FROM checksums WHERE id IN ({query})", source)
            count = self.execute("DELETE FROM detections WHERE source = ?", source)
            self.execute("DELETE FROM sources WHERE id = ?", source)
            if count:
                self.execute("INSERT INTO deletions (source) VALUES (?)", source)
        return count

    def relink_source(self, path: str, new_path: str, fingerprint: str | None) -> int:
        """Give a source another path and fingerprint; return the number of its detections."""
        ((source, _, _, next_frame),) = self._select_sources("path = ?", path)
        self._write_source(source, new_path, fingerprint, next_frame)
        return self.select("count(*) FROM detections WHERE source = ?", source)[0][0]

    def insert(self, images: Sequence[GalleryImage], batch: Ragged[ImageDetections]) -> np.ndarray:
        """Insert the detections of a batch.

        Args:
            images: images of the batch.
            batch: their detections, see `join_images`.

        Returns:
            (N,) int64 ids.
        """
        _, _, width, first = self.read_gallery()
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
        rows = [
            (i, *shared[image], *box, score, embedding.tobytes())
            for i, (image, box, score, embedding) in enumerate(
                zip(*columns, detections.embeddings, strict=True), start=first
            )
        ]
        self.execute_many("INSERT INTO detections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self.execute_many("INSERT INTO checksums VALUES (?, ?, ?)", sum_rows(rows))
        stop = first + len(detections)
        self.execute("UPDATE gallery SET width = ?, next_id = ?", new_width, stop)
        return np.arange(first, stop)

    def read(self, ids: Sequence[int]) -> dict[int, StoredDetection]:
        """Return the stored ones of these detections by id."""
        chosen = "WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
        with self.reading():
            rows = self.select(f"* FROM detections {chosen}", json.dumps(ids))
            known = self.select(f"* FROM checksums {chosen}", json.dumps(ids))
            check_stored(rows, known, self.read_gallery().width)
            sources = sorted({row[1] for row in rows})
            chosen = "id IN (SELECT value FROM json_each(?))"
            found = self._select_sources(chosen, json.dumps(sources))
            if len(found) < len(sources):
                raise sqlite3.DataError("a source of detections is lost")
        paths = {source: path for source, path, *_ in found}
        return {row[0]: _to_detection(row, paths[row[1]]) for row in rows}

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
            sqlite3.DataError: a detection is damaged or lost.
        """
        columns = f"id, {IMAGE}, camera, time, score, embedding"
        listing = "WHERE id > ? ORDER BY id"
        execute = self.connection.execute
        loaded = execute(f"SELECT {columns} FROM detections {listing}", (after,))
        known = execute(f"SELECT id, searched FROM checksums {listing}", (after,))
        while True:
            rows, known_rows = loaded.fetchmany(_LOAD_ROWS), known.fetchmany(_LOAD_ROWS)
            if not rows and not known_rows:
                return
            check_searched(rows, known_rows, width)
            yield rows

    def _add_source(self, path: str) -> int:
        """Return the id of a source, new or known."""
        if self.execute("INSERT OR IGNORE INTO sources (path) VALUES (?)", path):
            ((source,),) = self.select("id FROM sources WHERE path = ?", path)
            self._write_source(source, path, None, None)
        return self.find_sources([path])[0]

    def _write_source(
        self, source: int, path: str, fingerprint: str | None, next_frame: int | None
    ) -> None:
        """Replace all fields of a source."""
        fields = source, path, fingerprint, next_frame
        self.execute(
            "UPDATE sources SET path = ?, fingerprint = ?, next_frame = ?, checksum = ? "
            "WHERE id = ?",
            *(*fields[1:], sum_source(*fields), source),
        )

    def _select_sources(self, condition: str, *values: object) -> list[tuple]:
        """Return (id, path, fingerprint, next frame) of some sources, by id."""
        columns = "id, path, fingerprint, next_frame, checksum"
        with self.reading():
            rows = self.select(f"{columns} FROM sources WHERE {condition} ORDER BY id", *values)
            for *fields, checksum in rows:
                if sum_source(*fields) != checksum:
                    raise sqlite3.DataError(f"source {fields[0]} is damaged")
        return [row[:4] for row in rows]

    def _write_condition(self, where: Filter | None) -> tuple[str, list[object]]:
        """Return a filter as WHERE clause and its values."""
        check_where(where)
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


def _to_detection(row: tuple, path: str) -> StoredDetection:
    """Return the detection of a row of the table."""
    detection_id, _, frame, time, camera, x0, y0, x1, y1, score, embedding = row
    values = np.frombuffer(embedding, dtype="<f4")
    box = x0, y0, x1, y1
    return StoredDetection(detection_id, path, frame, time, camera, box, score, values)


def _to_columns(image: GalleryImage) -> tuple[int | None, float | None, str | None]:
    """Return frame, time and camera as Python's numbers: SQLite takes no others."""
    frame = None if image.frame is None else int(image.frame)
    return frame, None if image.time is None else float(image.time), image.camera
