"""The sources of a gallery on Milvus, and transactions on them.

Milvus has no transactions. An add writes its number to its sources, inserts detections with this
number, and then writes the new progress without it. A number in a source is therefore a running or
an interrupted add; the next add to the source removes its detections.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clsa_search.errors import InputError
from clsa_search.gallery.input_checks import check_progress, check_relink
from clsa_search.gallery.milvus_detections import DetectionTable
from clsa_search.gallery.milvus_table import Field, Table, make_key, text_field
from clsa_search.gallery.store_records import IndexConflict, IndexProgress, Source

FIELDS = (
    Field("key", "INT64", {"is_primary": True}),  # of the path; ABOUT_KEY: notes of the gallery
    text_field("path"),
    text_field("fingerprint", nullable=True),
    Field("next_frame", "INT64", {"nullable": True}),
    Field("detections", "INT64"),
    Field("added", "INT64"),  # nanoseconds
    Field("transaction", "INT64", {"nullable": True}),
    Field("unused", "FLOAT_VECTOR", {"dim": 2}),  # a collection must have a vector
)
ABOUT_KEY = 0
_EMPTY = {
    "fingerprint": None,
    "next_frame": None,
    "detections": 0,
    "transaction": None,
    "unused": [0, 0],
}
_DELETION = -1  # transaction of a deletion
_RENEWAL = -2  # of the deletion of all but the detections drawn by hand
_PAGE_ROWS = 1000


class Transaction(NamedTuple):
    """A running add.

    Args:
        number: random number of the add.
        rows: rows of its sources before the add, by path.
    """

    number: int
    rows: dict[str, dict]


class SourceTable:
    """The sources of one gallery; see `MilvusStore` for its guarantees.

    Args:
        table: collection of the sources.
        detections: collection of the detections.
    """

    def __init__(self, table: Table, detections: DetectionTable) -> None:
        self._table = table
        self._detections = detections

    def read_about(self) -> str | None:
        """Return the notes of the gallery; None if there are none."""
        rows = self._table.query(f"key == {ABOUT_KEY}")
        return rows[0]["path"] if rows else None

    def write_about(self, text: str) -> None:
        """Write the notes of the gallery."""
        self._table.upsert([_EMPTY | {"key": ABOUT_KEY, "path": text, "added": 0}])

    def read_all(self) -> list[Source]:
        """Return sources with detections, progress or a half deletion, in the order of adding."""
        rows = [
            row
            for row in self._scan()
            if row["detections"]
            or row["fingerprint"] is not None
            or row["transaction"] == _DELETION  # interrupted, to be repeated
        ]
        rows.sort(key=lambda row: row["added"])
        names = "path", "fingerprint", "next_frame", "detections"
        return [Source(*(row[name] for name in names)) for row in rows]

    def list_paths(self) -> list[str]:
        """Return the paths of `read_all`."""
        return [source.path for source in self.read_all()]

    def subtract(self, path: str, count: int) -> None:
        """Reduce the number of detections of a source."""
        for row in self._read([path]).values():
            self._table.upsert([row | {"detections": max(0, row["detections"] - count)}])

    def begin(
        self,
        paths: Sequence[str],
        progress: Sequence[IndexProgress],
        on_replace: Callable[[IndexProgress], None] = lambda progress: None,
    ) -> Transaction:
        """Begin an add to some sources, before its detections are inserted.

        Args:
            paths: paths of the sources.
            progress: new progress of some of them.
            on_replace: called before the detections of a source are deleted.

        Raises:
            IndexConflict: see `GalleryStore.add`.
        """
        known = self._read(paths)
        stored = {path: (row["fingerprint"], row["next_frame"]) for path, row in known.items()}
        check_progress(self._table.address, progress, stored)
        for one in progress:
            if one.replaces is not None:
                on_replace(one)
                if one.keeps_drawn and self._detections.list_drawn([one.source]):
                    known[one.source] = self._renew(known[one.source])
                else:
                    self.delete(one.source)
                    known.pop(one.source, None)
        known = {path: self._settle(row) for path, row in known.items()}
        now = time.time_ns()
        rows = {
            path: known.get(path, _EMPTY | {"key": make_key(path), "path": path, "added": now + i})
            for i, path in enumerate(paths)
        }
        number = random.SystemRandom().getrandbits(62) + 1
        self._table.upsert([row | {"transaction": number} for row in rows.values()])
        return Transaction(number, rows)

    def commit(
        self,
        transaction: Transaction,
        progress: Sequence[IndexProgress],
        counts: Mapping[str, int],
    ) -> None:
        """Commit an add after its detections were inserted.

        Args:
            transaction: the running add.
            progress: new progress.
            counts: number of inserted detections of each source.

        Raises:
            IndexConflict: another add has begun on one of the sources since. The detections of
                this one are removed.
        """
        current = self._read(list(transaction.rows))
        conflicts = [
            path
            for path in transaction.rows
            if path not in current or current[path]["transaction"] != transaction.number
        ]
        if conflicts:
            self._detections.delete(f"transaction == {transaction.number}")
            raise IndexConflict(self._table.address, conflicts)
        done = {
            one.source: {"fingerprint": one.fingerprint, "next_frame": one.next_frame}
            for one in progress
        }
        self._table.upsert(
            [
                row
                | done.get(path, {})
                | {"detections": row["detections"] + counts.get(path, 0), "transaction": None}
                for path, row in transaction.rows.items()
            ]
        )

    def delete(self, path: str) -> int:
        """Delete a source and its detections; return their number."""
        row = self._read([path]).get(path)
        if row is None:
            return 0
        if self._detections.width is None:  # loads them before the row changes
            self._table.delete(f"key == {row['key']}")
            return 0
        row = row | _EMPTY | {"transaction": _DELETION}
        # first: a process killed here must not leave a seemingly complete source
        self._table.upsert([row])
        count = self._remove_partial(row)
        self._table.delete(f"key == {row['key']}")
        return count

    def relink(self, path: str, new_path: str, fingerprint: str | None) -> int:
        """Give a source another path and fingerprint; return the number of its detections.

        The new row is written last: a process killed before leaves the old one, to be moved again.
        """
        known = self._read([path, new_path])
        row, new = known.get(path), known.get(new_path)
        is_moved = row and new and row["added"] == new["added"]  # a killed process deleted no row
        if not is_moved:
            check_relink(self._table.address, path, new_path, known)
        known[path] = self._settle(known[path])
        if known[path]["detections"]:
            self._detections.relink(path, new_path)
        moved = known[path] | {"key": make_key(new_path), "path": new_path}
        self._table.upsert([moved | {"fingerprint": fingerprint}])
        self._table.delete(f"key == {known[path]['key']}")
        return known[path]["detections"]

    def remove_partial(self) -> int:
        """Remove the detections of all interrupted adds; return their number."""
        rows = [row for row in self._scan() if row["transaction"] is not None]
        count = sum(map(self._remove_partial, rows))
        if rows:
            self._table.upsert([self._close(row) for row in rows])
        return count

    def set_fingerprint(self, path: str, fingerprint: str | None) -> int:
        """Give a source another fingerprint; return the number of its detections."""
        row = self._read([path])[path]
        self._table.upsert([row | {"fingerprint": fingerprint}])
        return row["detections"]

    def compact(self) -> None:
        """See `Table.compact`."""
        self._table.compact()

    def _renew(self, row: dict) -> dict:
        """Delete all detections of a source but those drawn by hand; return its row then."""
        # incomplete: a process killed here leaves it to be indexed again, with any options
        row = row | {"next_frame": 0, "transaction": _RENEWAL}
        self._table.upsert([row])
        return self._settle(row)

    def _settle(self, row: dict) -> dict:
        """Remove what an interrupted change of a source left; return its row then."""
        self._remove_partial(row)
        return self._close(row)

    def _close(self, row: dict) -> dict:
        """Return the row of a source after what an interrupted change left was removed."""
        if row["transaction"] == _RENEWAL:
            row = row | {"detections": self._detections.count(f"source_key == {row['key']}")}
        return row | {"transaction": None}

    def _scan(self) -> list[dict]:
        """Return the rows of all sources."""
        rows, after = [], ABOUT_KEY
        while page := self._table.scan("key", after, _PAGE_ROWS):
            after = page[-1]["key"]
            rows += page
        return rows

    def _read(self, paths: Sequence[str]) -> dict[str, dict]:
        """Return the rows of the known ones of some sources."""
        keys = {make_key(path): path for path in paths}
        rows = self._table.query(f"key in {list(keys)}") if keys else []
        for row in rows:
            if row["path"] != keys[row["key"]]:  # once in 10^7 galleries of a million sources
                raise InputError(
                    f"{self._table.address}: {keys[row['key']]}: has the key of {row['path']}; "
                    "expected another name"
                )
        return {row["path"]: row for row in rows}

    def _remove_partial(self, row: dict) -> int:
        """Remove the detections of an interrupted add or deletion of one source."""
        if row["transaction"] is None or self._detections.width is None:
            return 0
        if row["transaction"] == _RENEWAL:
            before = self._detections.count(f"source_key == {row['key']}")
            self._detections.delete_indexed(row["path"])
            return before - self._detections.count(f"source_key == {row['key']}")
        condition = f"source_key == {row['key']}"
        if row["transaction"] != _DELETION:
            condition += f" and transaction == {row['transaction']}"
        count = self._detections.count(condition)
        self._detections.delete(condition)
        return count
