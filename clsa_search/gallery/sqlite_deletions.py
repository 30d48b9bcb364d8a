"""Deletion of sources and detections in the file of the embedded engine."""

import json
from collections.abc import Sequence

from clsa_search.gallery.sqlite_notes import IN_LIST
from clsa_search.gallery.sqlite_schema import DRAWN
from clsa_search.gallery.sqlite_sources import SourceTables

IS_VIDEO = (
    "EXISTS (SELECT 1 FROM detections WHERE source = sources.id AND frame IS NOT NULL LIMIT 1)"
)
"""Condition on sources: they have detections in frames."""


class DeletionTables(SourceTables):
    """Statements that delete; see `SQLiteFile` for the arguments."""

    def delete_source(self, path: str) -> int:
        """Delete a source and its detections, damaged or not; return their number."""
        count = 0
        stored = [row[0] for row in self.select("id FROM sources WHERE path = ?", path)]
        for source in stored or self.find_sources([path]):
            query = "SELECT id FROM detections WHERE source = ?"
            self.delete_notes_of(query, source)
            self.delete_tracklets("source = ?", source)
            self.execute(f"DELETE FROM checksums WHERE id IN ({query})", source)
            count = self.execute("DELETE FROM detections WHERE source = ?", source)
            self.execute("DELETE FROM sources WHERE id = ?", source)
            if count:
                self.execute("INSERT INTO deletions (source) VALUES (?)", source)
        return count

    def delete_detections(self, ids: Sequence[int]) -> int:
        """Delete detections, their tracklets and notes; return their number."""
        chosen, values = f"id {IN_LIST}", json.dumps(ids)
        query = f"SELECT id FROM detections WHERE {chosen}"
        self.delete_complete(values)
        rest = f"SELECT tracklet FROM members WHERE detection {IN_LIST}"
        sources = [
            row[0]
            for row in self.select(f"DISTINCT source FROM tracklets WHERE id IN ({rest})", values)
        ]
        self.dissolve(query, values)
        self.delete_notes_of(query, values)
        for table in ("tracklets", "checksums"):
            self.execute(f"DELETE FROM {table} WHERE {chosen}", values)
        count = self.execute(f"DELETE FROM detections WHERE {chosen}", values)
        if count:
            self.note_gone(ids)
            self.mark_unlinked(f"id {IN_LIST} AND {IS_VIDEO}", json.dumps(sources))
        return count

    def delete_indexed(self, path: str) -> None:
        """Delete the detections of a stored source but those drawn by hand."""
        if not self.list_drawn([path]):
            self.delete_source(path)
            return
        query = "id FROM detections WHERE source = ? AND origin <> 'hand'"
        self.delete_detections([i for (i,) in self.select(query, self.read_source(path).id)])

    def list_drawn(self, paths: Sequence[str]) -> list[int]:
        """Return the ids of the detections of some sources that were drawn by hand, ascending."""
        sources = f"SELECT id FROM sources WHERE path {IN_LIST}"
        query = f"id FROM detections {DRAWN} AND source IN ({sources}) ORDER BY id"
        return [row[0] for row in self.select(query, json.dumps(paths))]
