"""The sources of a gallery on Milvus, and what stands in for transactions there.

An add claims its sources, inserts people that carry the claim's number, and gives the claim up with
the new progress. A claim that its process left behind tells the next add which people to remove.
"""

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from clsa_search.errors import InputError
from clsa_search.gallery.input_checks import check_progress
from clsa_search.gallery.milvus_table import Field, Table, make_key, text_field
from clsa_search.gallery.store_records import IndexConflict, IndexProgress, Source

FIELDS = (
    Field("key", "INT64", {"is_primary": True}),  # of the path; ABOUT_KEY: of the gallery itself
    text_field("path"),
    text_field("fingerprint", nullable=True),
    Field("next_frame", "INT64", {"nullable": True}),
    Field("detections", "INT64"),
    Field("came", "INT64"),  # nanoseconds
    Field("claim", "INT64", {"nullable": True}),
    Field("unused", "FLOAT_VECTOR", {"dim": 2}),  # a collection must have one
)
ABOUT_KEY = 0  # its path holds what is said of the gallery
_NONE = {"fingerprint": None, "next_frame": None, "detections": 0, "claim": None, "unused": [0, 0]}
_DELETION = -1  # the claim of who removes everything of a source
_PAGE_ROWS = 1000


class Claim(NamedTuple):
    """Sources that one add works on, as they were before."""

    number: int
    rows: dict[str, dict]


class SourceTable:
    """Of one gallery; see `MilvusStore` for what holds and what does not."""

    def __init__(self, table: Table, people: Table) -> None:
        self._table = table
        self._people = people

    def read_about(self) -> str | None:
        rows = self._table.query(f"key == {ABOUT_KEY}")
        return rows[0]["path"] if rows else None

    def write_about(self, text: str) -> None:
        self._table.upsert([_NONE | {"key": ABOUT_KEY, "path": text, "came": 0}])

    def read_all(self) -> list[Source]:
        """In the order they came, without those of which nothing was ever stored."""
        rows = [row for row in self._scan() if row["detections"] or row["fingerprint"] is not None]
        rows.sort(key=lambda row: row["came"])
        names = "path", "fingerprint", "next_frame", "detections"
        return [Source(*(row[name] for name in names)) for row in rows]

    def claim(self, paths: Iterable[str], progress: Sequence[IndexProgress]) -> Claim:
        """Before people of these sources are inserted.

        Raises:
            IndexConflict: see `GalleryStore.add`.
        """
        known = self._read(paths)
        stored = {path: (row["fingerprint"], row["next_frame"]) for path, row in known.items()}
        check_progress(self._table.address, progress, stored)
        for one in progress:
            if one.replaces is not None:
                self.delete(one.source)
                known.pop(one.source, None)
        for row in known.values():
            self._remove_leftovers(row)
        now = time.time_ns()
        rows = {
            path: known.get(path, _NONE | {"key": make_key(path), "path": path, "came": now + i})
            for i, path in enumerate(paths)
        }
        number = random.SystemRandom().getrandbits(62) + 1
        self._table.upsert([row | {"claim": number} for row in rows.values()])
        return Claim(number, rows)

    def commit(
        self, claim: Claim, progress: Sequence[IndexProgress], counts: Mapping[str, int]
    ) -> None:
        """After `counts` people of each source were inserted.

        Raises:
            IndexConflict: another add has claimed a source meanwhile; nothing stays of this one,
                but claims without people.
        """
        current = self._read(claim.rows)
        lost = [
            path
            for path in claim.rows
            if path not in current or current[path]["claim"] != claim.number
        ]
        if lost:
            self._people.delete(f"claim == {claim.number}")
            raise IndexConflict(self._table.address, lost)
        done = {
            one.source: {"fingerprint": one.fingerprint, "next_frame": one.next_frame}
            for one in progress
        }
        self._table.upsert(
            [
                row
                | done.get(path, {})
                | {"detections": row["detections"] + counts.get(path, 0), "claim": None}
                for path, row in claim.rows.items()
            ]
        )

    def delete(self, path: str) -> int:
        """Of a source and its people; gives their number."""
        row = self._read([path]).get(path)
        if row is None:
            return 0
        row = row | _NONE | {"claim": _DELETION}
        # first this: whoever is killed here must not leave a source that passes for complete
        self._table.upsert([row])
        count = self._remove_leftovers(row)
        self._table.delete(f"key == {row['key']}")
        return count

    def remove_leftovers(self) -> int:
        """Of all claims; nobody may be adding."""
        rows = [row for row in self._scan() if row["claim"] is not None]
        count = sum(map(self._remove_leftovers, rows))
        if rows:
            self._table.upsert([row | {"claim": None} for row in rows])
        return count

    def _scan(self) -> list[dict]:
        """All rows of sources."""
        rows, after = [], ABOUT_KEY
        while page := self._table.scan("key", after, _PAGE_ROWS):
            after = page[-1]["key"]
            rows += page
        return rows

    def _read(self, paths: Iterable[str]) -> dict[str, dict]:
        """Rows of those that are known."""
        keys = {make_key(path): path for path in paths}
        rows = self._table.query(f"key in {list(keys)}") if keys else []
        for row in rows:
            if row["path"] != keys[row["key"]]:  # once in 10^7 galleries of a million sources
                raise InputError(
                    f"{self._table.address}: {keys[row['key']]}: has the key of {row['path']}; "
                    "expected another name"
                )
        return {row["path"]: row for row in rows}

    def _remove_leftovers(self, row: dict) -> int:
        """Remove the people of a claim that was left behind."""
        if row["claim"] is None or not self._people.exists():
            return 0
        condition = f"source_key == {row['key']}"
        if row["claim"] != _DELETION:
            condition += f" and claim == {row['claim']}"
        count = self._people.count(condition)
        self._people.delete(condition)
        return count
