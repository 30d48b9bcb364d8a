"""Sources in the file of the embedded engine."""

import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from clsa_search.errors import InputError
from clsa_search.gallery.checksums import sum_source
from clsa_search.gallery.sqlite_notes import IN_LIST
from clsa_search.gallery.sqlite_tracklets import TrackletTables
from clsa_search.gallery.store_records import IndexProgress


class SourceRow(NamedTuple):
    """A row of the table of sources; see `Source` for the fields of the same names."""

    id: int
    path: str
    fingerprint: str | None = None
    next_frame: int | None = None
    camera: str | None = None
    start: float | None = None
    start_from: str | None = None
    linked: int = 1


class SourceTables(TrackletTables):
    """Statements on the table of sources; see `SQLiteFile` for the arguments."""

    def read_progress(self, paths: Sequence[str]) -> dict[str, tuple[str | None, int | None]]:
        """Return fingerprint and next frame of the known ones of some sources."""
        query = "path, fingerprint, next_frame FROM sources WHERE path = ?"
        rows = [row for path in paths for row in self.select(query, path)]
        return {path: (fingerprint, next_frame) for path, fingerprint, next_frame in rows}

    def write_progress(self, progress: Sequence[IndexProgress]) -> None:
        """Replace the progress of sources, new or known."""
        for one in progress:
            row = self.add_source(one.source)
            row = row._replace(fingerprint=one.fingerprint, next_frame=one.next_frame)
            if one.camera is not None:
                row = row._replace(camera=one.camera)
            if one.start is not None:
                row = row._replace(start=float(one.start), start_from=one.start_from)
            self.write_source(row)

    def list_paths(self) -> list[str]:
        """Return the paths of all sources in the order of adding, damaged sources included."""
        rows = self.select("path FROM sources WHERE typeof(path) = 'text' ORDER BY id")
        return [row[0] for row in rows]

    def find_sources(self, paths: Sequence[str]) -> list[int]:
        """Return the ids of the known ones of some sources."""
        with self.reading():
            found = [row.id for path in paths for row in self.select_sources("path = ?", path)]
            if len(found) < len(paths):  # unknown, or lost in a damaged index
                (answer,) = self.connection.execute("PRAGMA integrity_check(sources)").fetchone()
                if answer != "ok":
                    raise sqlite3.DataError(answer)
        return found

    def relink_source(self, path: str, new_path: str, fingerprint: str | None) -> int:
        """Give a source another path and fingerprint; return its id."""
        row = self.read_source(path)
        self.write_source(row._replace(path=new_path, fingerprint=fingerprint))
        return row.id

    def mark_unlinked(self, condition: str, *values: object) -> None:
        """Note that the tracklets of some sources are not up to date."""
        for row in self.select_sources(f"linked AND {condition}", *values):
            self.write_source(row._replace(linked=0))

    def list_unlinked(self) -> list[str]:
        """Return the paths of the sources whose tracklets are not up to date."""
        return [row.path for row in self.select_sources("linked = 0")]

    def read_source(self, path: str) -> SourceRow:
        """Return the row of a stored source.

        Raises:
            InputError: it is not stored.
        """
        self.find_sources([path])  # a damaged index may have lost it
        rows = self.select_sources("path = ?", path)
        if not rows:
            raise InputError(f"{self.path}: {path}: is not indexed; expected an indexed source")
        return rows[0]

    def write_source(self, row: SourceRow) -> None:
        """Replace all fields of a source."""
        self.execute(
            "UPDATE sources SET path = ?, fingerprint = ?, next_frame = ?, camera = ?, start = ?, "
            "start_from = ?, linked = ?, checksum = ? WHERE id = ?",
            *(*row[1:], sum_source(*row), row.id),
        )

    def add_source(self, path: str) -> SourceRow:
        """Return the row of a source, new or known."""
        if self.execute("INSERT OR IGNORE INTO sources (path) VALUES (?)", path):
            ((source,),) = self.select("id FROM sources WHERE path = ?", path)
            self.write_source(SourceRow(source, path))
        return self.read_source(path)

    def read_paths(self, sources: Sequence[int]) -> dict[int, str]:
        """Return the paths of stored sources by id."""
        wanted = sorted(set(sources))
        paths = {
            row.id: row.path for row in self.select_sources(f"id {IN_LIST}", json.dumps(wanted))
        }
        if len(paths) < len(wanted):
            raise sqlite3.DataError("a source of detections is lost")
        return paths

    def select_sources(self, condition: str, *values: object) -> list[SourceRow]:
        """Return the rows of some sources, by id."""
        columns = f"{', '.join(SourceRow._fields)}, checksum"
        with self.reading():
            rows = self.select(f"{columns} FROM sources WHERE {condition} ORDER BY id", *values)
            for *fields, checksum in rows:
                if sum_source(*fields) != checksum:
                    raise sqlite3.DataError(f"source {fields[0]} is damaged")
        return [SourceRow(*row[:-1]) for row in rows]
