"""Upkeep of the embedded engine: places of sources, lasting deletion."""

import json
from collections.abc import Sequence

from clsa_search.gallery.checksums import check_stored, sum_rows, sum_tracklet
from clsa_search.gallery.input_checks import check_ids
from clsa_search.gallery.sqlite_connection import INDEX_SECONDS
from clsa_search.gallery.sqlite_notes import IN_LIST
from clsa_search.gallery.sqlite_schema import DETECTION_COLUMNS
from clsa_search.gallery.sqlite_sources import SourceRow
from clsa_search.gallery.sqlite_tables import SQLiteTables
from clsa_search.gallery.store_records import Placement
from clsa_search.gallery.tracklet_checks import select_known
from clsa_search.gallery.upkeep import UpkeepStore

_STEP_ROWS = 512


class SQLiteUpkeep(UpkeepStore):
    """Upkeep of one SQLite file; see `UpkeepStore`."""

    address: str
    _tables: SQLiteTables

    def place(
        self, source: str, placement: Placement, fingerprint: str | None, base: float = 0.0
    ) -> int:
        """See `UpkeepStore`."""
        start = None if placement.start is None else float(placement.start)
        placement = placement._replace(start=start)
        with self._tables.writing("place", patience=INDEX_SECONDS):
            row = self._tables.read_source(source)
            old = base if row.start is None else row.start
            ids = self._tables.list_detections_of(row.id)
            _place_detections(self._tables, row, ids, placement, old)
            _place_tracklets(self._tables, row, placement, old)
            row = row._replace(**placement._asdict(), fingerprint=fingerprint)
            self._tables.write_source(row)
            if ids:
                self._tables.revise(ids[0], detections=True)
                self._tables.mark_unlinked(
                    "id = ? AND EXISTS (SELECT 1 FROM detections WHERE source = ? "
                    "AND frame IS NOT NULL)",
                    *(row.id, row.id),
                )
        return len(ids)

    def list_members(self, tracklets: Sequence[int]) -> list[int]:
        """See `UpkeepStore`."""
        wanted = check_ids(self.address, tracklets)
        with self._tables.reading():
            rows = self._tables.read_tracklets(wanted)
            select_known(self.address, wanted, rows)
            joined = json.dumps([row.id for row in rows.values() if row.detections > 1])
            query = f"detection FROM members WHERE tracklet {IN_LIST}"
            members = [row[0] for row in self._tables.select(query, joined)]
        return sorted([*members, *(row.id for row in rows.values() if row.detections == 1)])

    def scrub(self, *, vacuum: bool = False) -> str | None:
        """See `UpkeepStore`."""
        if self._tables.scrub(vacuum=vacuum):
            return None
        return (
            f"{self.address}-wal: still holds what was deleted, as another process reads the "
            f"gallery; expected `clsa-search scrub {self.address}` once it has ended its search"
        )


def _place_detections(
    tables: SQLiteTables, row: SourceRow, ids: Sequence[int], placement: Placement, old: float
) -> None:
    """Give the detections of a source their new camera and times, with new checksums."""
    width = tables.read_gallery().width
    new = placement.start
    for start in range(0, len(ids), _STEP_ROWS):
        chosen, values = f"id {IN_LIST}", json.dumps(ids[start : start + _STEP_ROWS])
        stored = f"{DETECTION_COLUMNS} FROM detections WHERE {chosen} ORDER BY id"
        rows = tables.select(stored, values)
        known = tables.select(f"* FROM checksums WHERE {chosen} ORDER BY id", values)
        check_stored(rows, known, width)  # damage must not get a right checksum
        tables.execute(
            "UPDATE detections SET camera = ?, time = CASE WHEN frame IS NULL THEN ? "
            f"ELSE time - ? + ? END WHERE {chosen}",
            *(placement.camera, new, old, new or 0.0, values),
        )
        rows = tables.select(stored, values)
        tables.execute_many("INSERT OR REPLACE INTO checksums VALUES (?, ?, ?)", sum_rows(rows))


def _place_tracklets(
    tables: SQLiteTables, row: SourceRow, placement: Placement, old: float
) -> None:
    """Give the tracklets of a source their new camera and times, with new checksums."""
    new = placement.start
    changed = []
    for one in tables.list_tracklets(" WHERE source = ?", [row.id], "id", None, 0):
        is_video = one.first_frame is not None
        times = [
            (None if time is None else time - old + (new or 0.0)) if is_video else new
            for time in (one.first, one.last)
        ]
        one = one._replace(camera=placement.camera, first=times[0], last=times[1])
        changed.append((one.camera, *times, sum_tracklet(one[:-1]), one.id))
    tables.execute_many(
        "UPDATE tracklets SET camera = ?, first = ?, last = ?, checksum = ? WHERE id = ?", changed
    )
