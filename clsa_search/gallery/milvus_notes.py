"""Notes of a gallery on Milvus, the origins of its sources, and the claims of ids."""

import base64
import json
import random
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from clsa_search.errors import InputError
from clsa_search.gallery.milvus_origins import add_images, drop_detections, keep_drawn
from clsa_search.gallery.milvus_table import (
    MAX_TEXT,
    Field,
    Table,
    join_conditions,
    make_key,
    text_field,
)
from clsa_search.gallery.store_records import GalleryImage, IndexProgress, Note, StoredDetection
from clsa_search.gallery.tracklet_store import ReadNotes

_FIELDS = (
    Field("id", "INT64", {"is_primary": True}),
    Field("kind", "INT64"),  # key of the name
    Field("detection", "INT64", {"nullable": True}),
    text_field("value"),
    text_field("data", nullable=True),  # in base 64
    Field("unused", "FLOAT_VECTOR", {"dim": 2}),  # a collection must have a vector
)
_SOURCE, _STATE, _CLAIM = map(make_key, ("\0source", "\0state", "\0claim"))  # no notes
_NO_ORIGIN: dict[str, Any] = {"camera": None, "start": None, "start_from": None, "linked": True}
_NO_STATE: dict[str, Any] = {"origins": False}  # of detections: whether old sources tell theirs
_PAGE_ROWS = 1000
_CLAIM_TRIES, _CLAIM_WAIT = 50, 0.02  # seconds, longer with each try
_KEPT_CLAIMS = 20


class NoteTable(Table):
    """The collection of notes; see `Table` for the arguments."""

    def create(self, fields: Sequence[Field] = _FIELDS) -> None:
        """Create the collection without an index."""
        super().create(fields)

    def open_notes(self) -> None:
        """Create or load the collection."""
        self.open(_FIELDS)

    def read_notes(self, kind: str, detection: int | None) -> ReadNotes:
        """Return the notes of a kind; see `TrackletStore.read_notes`."""
        condition = "" if detection is None else f"detection == {detection}"
        found = ReadNotes([], [])
        for row in self._scan_kind(make_key(kind), condition):
            try:
                found.whole.append(_to_note(kind, row))
            except Exception:  # a damaged value can have any form
                found.damaged.append(row["id"])
        return found

    def read_note_state(self, kind: str) -> tuple[int, int]:
        """Return number and highest id; see `TrackletStore.note_state`."""
        rows = self.query(f"kind == {make_key(kind)}", ["id"])
        return len(rows), max((row["id"] for row in rows), default=0)

    def write_notes(self, notes: Sequence[Note], delete: Collection[int]) -> list[int]:
        """Write and delete notes; see `TrackletStore.write_notes`.

        A process killed here leaves all written notes, and some of those to delete.
        """
        kept = [note.note_id for note in notes if note.note_id is not None]
        found = {row["id"] for row in self.query(f"id in {kept}", ["id"])} if kept else set()
        for note_id in kept:
            if note_id not in found:
                raise InputError(
                    f"{self.address}: there is no note {note_id}; expected a stored one"
                )
        ids = self._upsert_notes(notes)
        others = [one for one in delete if one not in kept]
        if others:
            self.delete(f"id in {others}")
        return ids

    def _upsert_notes(self, notes: Sequence[Note]) -> list[int]:
        now = time.time_ns()
        rows = [_to_row(note, now + i) for i, note in enumerate(notes)]
        for row in rows:
            if any(len((row[name] or "").encode()) > MAX_TEXT for name in ("data", "value")):
                raise InputError(f"{self.address}: a note is too large; expected 40,000 bytes")
        if rows:
            self.upsert(rows)
        return [row["id"] for row in rows]

    def list_noted(self) -> list[int]:
        """Return the ids of detections with notes."""
        rows = self.query("detection >= 0", ["detection"])
        return sorted({row["detection"] for row in rows})

    def read_origins(self, paths: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return the origins of sources by path; see `_NO_ORIGIN` for the fields."""
        if paths is None:
            rows = self._scan_kind(_SOURCE)
        else:
            keys = [make_key(path) for path in paths]
            rows = self.query(f"id in {keys} and kind == {_SOURCE}") if keys else []
        values = [json.loads(row["value"]) for row in rows]
        return {value["path"]: value for value in values}

    def write_origins(self, changes: dict[str, dict[str, Any]]) -> None:
        """Change some fields of the origins of sources, new or known."""
        known = self.read_origins(changes)
        rows = []
        for path, fields in changes.items():
            before = known.get(path)
            value = (before or _NO_ORIGIN) | {"path": path} | fields
            if value != before:
                text = json.dumps(value, ensure_ascii=False)
                if len(text.encode()) > MAX_TEXT:
                    raise InputError(
                        f"{self.address}: {path}: has too many detections drawn by hand for "
                        "Milvus; expected some hundreds"
                    )
                rows.append(_make_row(make_key(path), _SOURCE, None, text, None))
        if rows:
            self.upsert(rows)

    def place(self, progress: Sequence[IndexProgress]) -> None:
        """Store the cameras and starts of new progress."""
        changes: dict[str, dict[str, Any]] = {}
        known = self.read_origins(one.source for one in progress if one.keeps_drawn)
        for one in progress:
            fields: dict[str, Any] = {}
            if one.replaces is not None:
                fields = _NO_ORIGIN | {"tracklets": None} | keep_drawn(known.get(one.source, {}))
            if one.camera is not None:
                fields["camera"] = one.camera
            if one.start is not None:
                fields |= {"start": float(one.start), "start_from": one.start_from}
            if fields:
                changes[one.source] = fields
        self.write_origins(changes)

    def add_images(self, images: Sequence[GalleryImage], stored: Mapping[str, int]) -> None:
        """Store the origins of detections before they are inserted.

        Args:
            images: their images.
            stored: number of detections of each source before.
        """
        groups: dict[str, list[GalleryImage]] = {}
        for image in images:
            groups.setdefault(image.source, []).append(image)
        known = self.read_origins(groups)
        changes = {
            path: add_images(known.get(path, {}), group, stored[path])
            for path, group in groups.items()
        }
        self.write_origins({path: fields for path, fields in changes.items() if fields})

    def drop_detections(self, gone: Sequence[StoredDetection]) -> None:
        """Forget the origins of detections of one source, before they are deleted."""
        path = gone[0].source
        if fields := drop_detections(self.read_origins([path]).get(path, {}), gone):
            self.write_origins({path: fields})

    def forget(self, path: str) -> None:
        """Delete the origin of a source."""
        self.delete(f"id == {make_key(path)} and kind == {_SOURCE}")

    def claim_ids(self, count: int) -> int:
        """Claim unused numbers for this process alone; return the first of `count` in a row.

        A claim is a row with its last number. A process gives its claim up if another one reaches
        as high, and tries again above. Of two processes, the later reader sees both claims, so at
        most one keeps its own; a killed process leaves numbers unused.

        Raises:
            InputError: others are always first.
        """
        for wait in range(_CLAIM_TRIES):
            first = max(self._read_claims().values(), default=0) + 1
            mine = random.SystemRandom().getrandbits(62) + 1
            text = json.dumps(first + count - 1)
            self.upsert([_make_row(mine, _CLAIM, None, text, None)])
            others = self._read_claims()
            others.pop(mine, None)
            if max(others.values(), default=0) < first:
                if len(others) > _KEPT_CLAIMS:
                    self.delete(f"id in {list(others)}")
                return first
            self.delete(f"id == {mine}")
            time.sleep(random.uniform(0, _CLAIM_WAIT * (wait + 1)))
        raise InputError(f"{self.address}: too many processes add at once; expected fewer of them")

    def _read_claims(self) -> dict[int, int]:
        """Return the last number of each claim by the id of its row."""
        rows = self.query(f"kind == {_CLAIM}", ["id", "value"])
        return {row["id"]: json.loads(row["value"]) for row in rows}

    def read_state(self) -> dict[str, Any] | None:
        """Return what is done to an older gallery; None before detections had tracklets."""
        rows = self._scan_kind(_STATE)
        return _NO_STATE | json.loads(rows[0]["value"]) if rows else None

    def write_state(self, state: dict[str, Any]) -> None:
        """Note what is done; detections have tracklets then."""
        self.upsert([_make_row(_STATE, _STATE, None, json.dumps(state), None)])

    def _scan_kind(self, kind: int, condition: str = "") -> list[dict]:
        """Return the rows of a kind in the order of ids."""
        rows: list[dict] = []
        both = join_conditions(f"kind == {kind}", condition)
        while page := self.scan("id", rows[-1]["id"] if rows else 0, _PAGE_ROWS, condition=both):
            rows += page
        return rows


def _to_row(note: Note, new_id: int) -> dict[str, Any]:
    value = json.dumps({"values": dict(note.values)}, ensure_ascii=False)
    data = None if note.data is None else base64.b64encode(note.data).decode()
    note_id = new_id if note.note_id is None else note.note_id
    return _make_row(note_id, make_key(note.kind), note.detection, value, data)


def _make_row(
    row_id: int, kind: int, detection: int | None, value: str, data: str | None
) -> dict[str, Any]:
    fields = {"id": row_id, "kind": kind, "detection": detection, "value": value, "data": data}
    return {**fields, "unused": [0, 0]}


def _to_note(kind: str, row: dict[str, Any]) -> Note:
    data = None if row["data"] is None else base64.b64decode(row["data"], validate=True)
    values = dict(json.loads(row["value"])["values"])
    return Note(kind, values, row["detection"], data, row["id"])
