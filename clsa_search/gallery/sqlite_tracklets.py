"""Tracklets in the file of the embedded engine.

Tracklets are computed from detections. Their damage is named with the cure: link again.
"""

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery.checksums import (
    check_searched,
    sum_bytes,
    sum_ids,
    sum_tracklet,
)
from clsa_search.gallery.sqlite_notes import IN_LIST
from clsa_search.gallery.sqlite_revisions import RevisionTable
from clsa_search.gallery.sqlite_schema import (
    SINGLE_COLUMNS,
    SOURCE_SHIFT,
    insert_singles,
)
from clsa_search.gallery.store_records import Tracklet

_LOAD_ROWS = 512
_COLUMNS = (
    "id, source, chain, camera, first, last, first_frame, last_frame, detections, best, score, "
    "purity, members_sum, embedding_sum, checksum"
)
_ORDERS = {"id": "id", "time": "first, id"}


class TrackletRow(NamedTuple):
    """A row of the table; see `Tracklet` for the fields of the same names.

    Args:
        id: id of the tracklet.
        source: id of the source.
        members_sum: checksum of the ids of its detections; 0 with one detection.
        embedding_sum: checksum of its embedding; 0 with one detection.
        checksum: checksum of all other fields.
    """

    id: int
    source: int
    chain: int
    camera: str | None
    first: float | None
    last: float | None
    first_frame: int | None
    last_frame: int | None
    detections: int
    best: int
    score: float
    purity: float
    members_sum: int
    embedding_sum: int
    checksum: int

    def to_tracklet(self, path: str, embedding: np.ndarray | None) -> Tracklet:
        """Return the record of the row."""
        return Tracklet(
            *(self.id, path, self.camera, self.first, self.last, self.first_frame),
            *(self.last_frame, self.detections, self.best, self.purity, embedding),
            *(self.score, self.chain),
        )


class TrackletTables(RevisionTable):
    """Statements on the tables of tracklets; see `SQLiteFile` for the arguments."""

    _checked: int | None = None  # state of the file in which the tracklets held all detections

    def add_singles(self, rows: Sequence[tuple]) -> None:
        """Insert tracklets of one detection; see `insert_singles`."""
        insert_singles(self.connection, rows)

    def replace_tracklets(
        self, source: int, tracklets: Sequence[Tracklet], members: Sequence[Sequence[int]]
    ) -> None:
        """Replace the tracklets of a source; see `TrackletStore.set_tracklets`."""
        self.delete_tracklets("source = ?", source)
        pairs = list(zip(tracklets, members, strict=True))
        joined = [(tracklet, ids) for tracklet, ids in pairs if len(ids) > 1]
        sums = {one.tracklet_id: (sum_ids(ids), sum_bytes(_to_bytes(one))) for one, ids in joined}
        rows = [_to_row(source, one, *sums.get(one.tracklet_id, (0, 0))) for one in tracklets]
        self.execute_many(f"INSERT INTO tracklets VALUES ({', '.join('?' * 15)})", rows)
        links = [(detection, one.tracklet_id) for one, ids in joined for detection in ids]
        self.execute_many("INSERT INTO members VALUES (?, ?)", links)
        embeddings = [(one.tracklet_id, _to_bytes(one)) for one, _ in joined]
        self.execute_many("INSERT INTO tracklet_embeddings VALUES (?, ?)", embeddings)
        if rows:
            self.revise(min(row[0] for row in rows))

    def delete_tracklets(self, condition: str, *values: object) -> None:
        """Delete the tracklets of a condition; their detections have none then."""
        query = f"SELECT id FROM tracklets WHERE {condition}"
        self.execute(f"DELETE FROM members WHERE tracklet IN ({query})", *values)
        self.execute(f"DELETE FROM tracklet_embeddings WHERE id IN ({query})", *values)
        self.execute(f"DELETE FROM tracklets WHERE {condition}", *values)

    def list_tracklets(
        self,
        condition: str,
        values: Sequence[object],
        order_by: str,
        limit: int | None,
        offset: int,
    ) -> list[TrackletRow]:
        """Return the rows of a WHERE clause; see `TrackletStore.tracklets`."""
        self.check_tracklets()
        order = f"{condition} ORDER BY {_ORDERS[order_by]} LIMIT ? OFFSET ?"
        return self._read_rows(order, *values, -1 if limit is None else limit, offset)

    def count_tracklets(self, condition: str, values: Sequence[object]) -> int:
        """Return the number of tracklets of a WHERE clause."""
        self.check_tracklets()
        query = f"count(*) FROM tracklets{condition}"
        if values:
            return self.select(query, *values)[0][0]
        return self.remember(query, lambda: self.select(query)[0][0])

    def read_tracklets(self, ids: Sequence[int]) -> dict[int, TrackletRow]:
        """Return the stored ones of these tracklets by id."""
        return {row.id: row for row in self._read_rows(f"WHERE id {IN_LIST}", json.dumps(ids))}

    def read_chains(self, chains: Sequence[int]) -> list[TrackletRow]:
        """Return all tracklets of some chains, in the order of ids."""
        return self._read_rows(f"WHERE chain {IN_LIST} ORDER BY id", json.dumps(chains))

    def read_embeddings(self, rows: Sequence[TrackletRow]) -> dict[int, np.ndarray]:
        """Return the embeddings of those tracklets that have more than one detection."""
        joined = {row.id: row for row in rows if row.detections > 1}
        query = f"id, embedding FROM tracklet_embeddings WHERE id {IN_LIST}"
        found = dict(self.select(query, json.dumps(list(joined))))
        for i, row in joined.items():
            self._check_embedding(row, found.get(i))
        return {i: np.frombuffer(embedding, "<f4") for i, embedding in found.items()}

    def read_members(self, row: TrackletRow) -> list[int]:
        """Return the ids of the detections of a tracklet."""
        if row.detections == 1:
            return [row.id]
        found = self.select("detection FROM members WHERE tracklet = ? ORDER BY detection", row.id)
        ids = [detection for (detection,) in found]
        self._check(row.id, len(ids) == row.detections and sum_ids(ids) == row.members_sum)
        return ids

    def find_tracklets(self, detections: Sequence[int]) -> dict[int, int]:
        """Return the ids of the tracklets of stored detections."""
        wanted = json.dumps(detections)
        found = dict(self.select(f"id, id FROM tracklets WHERE id {IN_LIST}", wanted))
        query = f"detection, tracklet FROM members WHERE detection {IN_LIST}"
        return found | dict(self.select(query, wanted))

    def load_tracklets(self, after: int, width: int) -> Iterator[list[tuple]]:
        """Yield lists of rows for `EmbeddingIndex.append_tracklets`.

        Args:
            after: id; rows with higher ids are loaded.
            width: embedding width.

        Raises:
            InputError: a tracklet is damaged.
            sqlite3.DataError: a detection is damaged or lost.
        """
        self.check_tracklets()
        columns = ", ".join(f"t.{name}" for name in _COLUMNS.split(", "))
        image = f"d.source << {SOURCE_SHIFT} | ifnull(d.frame + 1, 0)"
        cursor = self.connection.execute(
            f"SELECT {columns}, e.embedding, d.id, {image}, d.camera, d.time, d.score, "
            "d.embedding, c.searched FROM tracklets t "
            "LEFT JOIN tracklet_embeddings e ON t.detections > 1 AND e.id = t.id "
            "LEFT JOIN detections d ON t.detections = 1 AND d.id = t.id "
            "LEFT JOIN checksums c ON c.id = d.id WHERE t.id > ? ORDER BY t.id",
            (after,),
        )
        size = len(TrackletRow._fields)
        while pieces := cursor.fetchmany(_LOAD_ROWS):
            rows = [self._check_row(piece[:size]) for piece in pieces]
            singles = [
                piece for row, piece in zip(rows, pieces, strict=True) if row.detections == 1
            ]
            known = [(piece[0], piece[-1]) for piece in singles]
            if singles:
                check_searched([piece[size + 1 : -1] for piece in singles], known, width)
            loaded = []
            for row, piece in zip(rows, pieces, strict=True):
                embedding = piece[-2]
                if row.detections > 1:
                    embedding = self._check_embedding(row, piece[size], width)
                times = row.first, row.last
                loaded.append(
                    (row.id, row.chain, row.source, row.camera, *times, row.score, embedding)
                )
            yield loaded

    def check_tracklets(self) -> None:
        """Check that the tracklets hold all detections; own changes keep this.

        Raises:
            InputError: one is lost.
        """
        (state,) = self.connection.execute("PRAGMA data_version").fetchone()
        if state == self._checked:
            return
        ((held, lowest),) = self.select("ifnull(sum(detections), 0), min(id) FROM tracklets")
        ((stored,),) = self.select("count(*) FROM detections")
        self._check(lowest or 0, held == stored)
        self._checked = state

    def delete_complete(self, detections: str) -> None:
        """Delete the tracklets of which all detections are among some.

        Args:
            detections: ids of detections as JSON.
        """
        complete = (
            f"tracklet FROM members WHERE detection {IN_LIST} GROUP BY tracklet "
            "HAVING count(*) = (SELECT detections FROM tracklets WHERE id = tracklet)"
        )
        ids = json.dumps([tracklet for (tracklet,) in self.select(complete, detections)])
        self.delete_tracklets(f"id {IN_LIST}", ids)

    def dissolve(self, detections: str, *values: object) -> None:
        """Make each detection a tracklet of its own in the tracklets of some detections.

        Args:
            detections: query of their ids.
            *values: values of the query.
        """
        joined = f"DISTINCT tracklet FROM members WHERE detection IN ({detections})"
        ids = json.dumps([tracklet for (tracklet,) in self.select(joined, *values)])
        query = f"{SINGLE_COLUMNS} FROM detections WHERE id IN "
        members = f"(SELECT detection FROM members WHERE tracklet {IN_LIST}) ORDER BY id"
        singles = self.select(query + members, ids)
        self.delete_tracklets(f"id {IN_LIST}", ids)
        self.add_singles(singles)
        if singles:
            self.revise(singles[0][0])

    def _read_rows(self, condition: str, *values: object) -> list[TrackletRow]:
        with self.reading():
            rows = self.select(f"{_COLUMNS} FROM tracklets {condition}", *values)
            return [self._check_row(row) for row in rows]

    def _check_row(self, row: tuple) -> TrackletRow:
        try:
            is_whole = sum_tracklet(row[:-1]) == row[-1]
        except Exception:  # a damaged value can have any type
            is_whole = False
        self._check(row[0], is_whole)
        return TrackletRow(*row)

    def _check_embedding(self, row: TrackletRow, found: object, width: int | None = None) -> bytes:
        """Return the embedding of a tracklet; `width` is its expected width."""
        embedding = found if isinstance(found, bytes) else b""
        is_whole = sum_bytes(embedding) == row.embedding_sum
        self._check(row.id, is_whole and width in (None, len(embedding) // 4))
        return embedding

    def _check(self, tracklet_id: int, is_whole: bool) -> None:
        if not is_whole:
            raise InputError(
                f"{self.path}: sighting {tracklet_id} is damaged or lost; expected `clsa-search "
                f"link --again {self.path}`: it computes all of them from the detections"
            )


def _to_bytes(tracklet: Tracklet) -> bytes:
    assert tracklet.embedding is not None  # checked by the store
    return np.asarray(tracklet.embedding, "<f4").tobytes()


def _to_row(source: int, tracklet: Tracklet, members_sum: int, embedding_sum: int) -> tuple:
    one = tracklet
    first, last = (None if time is None else float(time) for time in (one.first, one.last))
    frames = (None if frame is None else int(frame) for frame in (one.first_frame, one.last_frame))
    row = (
        *(int(one.tracklet_id), source, int(one.chain), one.camera, first, last, *frames),
        *(int(one.detections), int(one.best), float(one.score), float(one.purity)),
        *(members_sum, embedding_sum),
    )
    return (*row, sum_tracklet(row))
