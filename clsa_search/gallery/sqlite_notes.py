"""Notes in the file of the embedded engine."""

import json
from collections.abc import Collection, Sequence

from clsa_search.errors import InputError
from clsa_search.gallery.checksums import sum_note
from clsa_search.gallery.sqlite_file import SQLiteFile
from clsa_search.gallery.store_records import Note
from clsa_search.gallery.tracklet_store import ReadNotes

IN_LIST = "IN (SELECT value FROM json_each(?))"


class NoteTable(SQLiteFile):
    """Statements on the table of notes; see `SQLiteFile` for the arguments."""

    def read_notes(self, kind: str, detection: int | None) -> ReadNotes:
        """Return the notes of a kind; see `TrackletStore.read_notes`."""
        values: tuple[object, ...] = (kind,) if detection is None else (kind, detection)
        condition = "kind = ?" if detection is None else "kind = ? AND detection = ?"
        # damaged text cannot be read as text
        columns = "id, detection, cast(value AS BLOB), cast(data AS BLOB), checksum"
        found = ReadNotes([], [])
        for note_id, about, value, data, checksum in self.select(
            f"{columns} FROM notes WHERE {condition} ORDER BY id", *values
        ):
            try:
                text = value.decode()
                if sum_note(kind, about, text, data) != checksum:
                    raise ValueError("another checksum")
                found.whole.append(Note(kind, json.loads(text), about, data, note_id))
            except Exception:  # a damaged value can have any type
                found.damaged.append(note_id)
        return found

    def read_note_state(self, kind: str) -> tuple[int, int]:
        """Return number and highest id; see `TrackletStore.note_state`."""
        query = "count(*), ifnull(max(id), 0) FROM notes WHERE kind = ?"
        ((number, last),) = self.select(query, kind)
        return number, last

    def write_notes(self, notes: Sequence[Note], delete: Collection[int]) -> list[int]:
        """Delete, change and insert notes; see `TrackletStore.write_notes`."""
        self.execute(f"DELETE FROM notes WHERE id {IN_LIST}", json.dumps(list(delete)))
        return [self._write_note(note) for note in notes]

    def delete_notes_of(self, query: str, *values: object) -> None:
        """Delete the notes of the detections of a query."""
        self.execute(f"DELETE FROM notes WHERE detection IN ({query})", *values)

    def _write_note(self, note: Note) -> int:
        row = _to_columns(note)
        if note.note_id is None:
            columns = "kind, detection, value, data, checksum"
            insert = f"INSERT INTO notes ({columns}) VALUES (?, ?, ?, ?, ?)"
            return int(self.connection.execute(insert, row).lastrowid or 0)
        change = "UPDATE notes SET kind = ?, detection = ?, value = ?, data = ?, checksum = ?"
        if not self.execute(f"{change} WHERE id = ?", *row, note.note_id):
            raise InputError(f"{self.path}: there is no note {note.note_id}; expected a stored one")
        return note.note_id


def _to_columns(note: Note) -> tuple[object, ...]:
    """Return the columns of a row after its id."""
    value = json.dumps(dict(note.values), ensure_ascii=False)
    fields = note.kind, note.detection, value, note.data
    return *fields, sum_note(*fields)
