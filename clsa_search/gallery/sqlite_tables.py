"""Sources and detections in the file of the embedded engine.

Shape letters: N detections of a batch.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery.checksums import check_searched, check_stored, sum_rows
from clsa_search.gallery.input_checks import check_where
from clsa_search.gallery.sqlite_deletions import IS_VIDEO, DeletionTables
from clsa_search.gallery.sqlite_notes import IN_LIST
from clsa_search.gallery.sqlite_schema import DETECTION_COLUMNS, IMAGE, reset_tracklets
from clsa_search.gallery.sqlite_tracklets import TrackletRow
from clsa_search.gallery.store_records import (
    Filter,
    GalleryImage,
    Source,
    StoredDetection,
    Tracklet,
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


class SQLiteTables(DeletionTables):
    """Statements on the tables of a gallery's file; see `SQLiteFile` for the arguments."""

    def read_gallery(self) -> GalleryRow:
        """Return the row of the gallery itself."""
        with self.reading():
            rows = self.select("weights, about, width, next_id FROM gallery")
            types = [tuple(map(type, row)) for row in rows]
            if types not in ([(str, str, int, int)], [(str, str, type(None), int)]):
                raise sqlite3.DataError("the table 'gallery' is damaged")
        return GalleryRow(*rows[0])

    def read_sources(self) -> list[Source]:
        """Return all sources in the order of adding."""
        return list(self.remember("sources", self._read_sources))

    def _read_sources(self) -> list[Source]:
        with self.reading():
            rows = self.select_sources("TRUE")
            counts = dict(self.select("source, count(*) FROM detections GROUP BY source"))
            tracklets = dict(self.select("source, count(*) FROM tracklets GROUP BY source"))
            ((count,),) = self.select("count(*) FROM checksums")
            if sum(counts.values()) != count or not counts.keys() <= {row.id for row in rows}:
                raise sqlite3.DataError("the numbers of detections disagree")
        return [
            Source(
                *(row.path, row.fingerprint, row.next_frame, counts.get(row.id, 0)),
                *(row.camera, row.start, row.start_from),
                tracklets=tracklets.get(row.id, 0),
                is_linked=bool(row.linked),
            )
            for row in rows
        ]

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
        sources = {path: self.add_source(path).id for path in paths}
        shared = [(sources[image.source], *_to_columns(image)) for image in images]
        columns = batch.owners.tolist(), detections.boxes.tolist(), detections.scores.tolist()
        rows = [
            (i, *shared[image], *box, score, images[image].origin, embedding.tobytes())
            for i, (image, box, score, embedding) in enumerate(
                zip(*columns, detections.embeddings, strict=True), start=first
            )
        ]
        values = f"({DETECTION_COLUMNS}) VALUES ({', '.join('?' * 12)})"
        self.execute_many(f"INSERT INTO detections {values}", rows)
        self.execute_many("INSERT INTO checksums VALUES (?, ?, ?)", sum_rows(rows))
        self.add_singles([(*row[:5], row[9]) for row in rows])
        videos = {sources[image.source] for image in images if image.frame is not None}
        self.mark_unlinked(f"id {IN_LIST}", json.dumps(list(videos)))
        stop = first + len(detections)
        self.execute("UPDATE gallery SET width = ?, next_id = ?", new_width, stop)
        return np.arange(first, stop)

    def read(self, ids: Sequence[int]) -> dict[int, StoredDetection]:
        """Return the stored ones of these detections by id."""
        chosen = f"WHERE id {IN_LIST} ORDER BY id"
        with self.reading():
            rows = self.select(f"{DETECTION_COLUMNS} FROM detections {chosen}", json.dumps(ids))
            known = self.select(f"* FROM checksums {chosen}", json.dumps(ids))
            check_stored(rows, known, self.read_gallery().width)
            paths = self.read_paths([row[1] for row in rows])
        return {row[0]: _to_detection(row, paths[row[1]]) for row in rows}

    def to_tracklets(self, rows: Sequence[TrackletRow], *, embeddings: bool) -> list[Tracklet]:
        """Return the records of rows.

        Args:
            rows: rows of tracklets.
            embeddings: read their embeddings too.
        """
        found: dict[int, np.ndarray] = {}
        with self.reading():
            paths = self.read_paths([row.source for row in rows])
            if embeddings:
                found = self.read_embeddings(rows)
                singles = self.read([row.id for row in rows if row.detections == 1])
                found |= {i: detection.embedding for i, detection in singles.items()}
        return [row.to_tracklet(paths[row.source], found.get(row.id)) for row in rows]

    def list_detections_of(self, source: int) -> list[int]:
        """Return the ids of the detections of a source, ascending."""
        query = "id FROM detections WHERE source = ? ORDER BY id"
        return [row[0] for row in self.select(query, source)]

    def reset_all_tracklets(self) -> None:
        """Make each detection a tracklet of its own, whatever tracklet is damaged."""
        reset_tracklets(self.connection)
        self.mark_unlinked(IS_VIDEO)

    def list_ids(
        self, where: Filter | None, order_by: str, limit: int | None, offset: int
    ) -> list[int]:
        """Return ids of detections; see `GalleryStore.list`."""
        condition, values = self.write_condition(where)
        query = f"id FROM detections{condition} ORDER BY {_ORDERS[order_by]} LIMIT ? OFFSET ?"
        rows = self.select(query, *values, -1 if limit is None else limit, offset)
        return [row[0] for row in rows]

    def count(self, where: Filter | None) -> int:
        """Return the number of detections in a filter."""
        condition, values = self.write_condition(where)
        query = f"count(*) FROM detections{condition}"
        if values:
            return self.select(query, *values)[0][0]
        return self.remember(query, lambda: self.select(query)[0][0])

    def list_cameras(self) -> list[str]:
        """Return the sorted names of the cameras."""
        query = "DISTINCT camera FROM detections WHERE camera IS NOT NULL"
        return list(self.remember(query, lambda: sorted(row[0] for row in self.select(query))))

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

    def write_condition(
        self, where: Filter | None, *, first: str = "time", last: str = "time"
    ) -> tuple[str, list[object]]:
        """Return a filter as WHERE clause and its values.

        Args:
            where: the filter.
            first: column of the first time.
            last: column of the last time.
        """
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
            clauses, values = [f"source {IN_LIST}"], [json.dumps(sources)]
        if where.cameras is not None:
            clauses.append(f"camera {IN_LIST}")
            values.append(json.dumps(list(where.cameras)))
        for comparison, bound in (
            (f"{last} >=", where.since),
            (f"{first} <=", where.until),
            ("score >=", min_score),
        ):
            if bound is not None:
                clauses.append(f"{comparison} ?")
                values.append(float(bound))
        return f" WHERE {' AND '.join(clauses)}" if clauses else "", values


def _to_detection(row: tuple, path: str) -> StoredDetection:
    """Return the detection of a row of `DETECTION_COLUMNS`."""
    detection_id, _, frame, time, camera, x0, y0, x1, y1, score, origin, embedding = row
    values = np.frombuffer(embedding, dtype="<f4")
    box = x0, y0, x1, y1
    return StoredDetection(detection_id, path, frame, time, camera, box, score, values, origin)


def _to_columns(image: GalleryImage) -> tuple[int | None, float | None, str | None]:
    """Return frame, time and camera as Python's numbers: SQLite takes no others."""
    frame = None if image.frame is None else int(image.frame)
    return frame, None if image.time is None else float(image.time), image.camera
