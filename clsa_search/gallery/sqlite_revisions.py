"""Revisions in the file of the embedded engine: they tell readers what has changed."""

from collections.abc import Sequence

from clsa_search.gallery.sqlite_notes import NoteTable

GONE = 2  # kind of a revision: one id was deleted
_MAX_GONE = 2000  # ids to name; beyond, readers load again from the first one on


class RevisionTable(NoteTable):
    """Statements on the table of revisions; see `SQLiteFile` for the arguments."""

    def revise(self, first: int, *, detections: bool = False) -> None:
        """Make readers load tracklets, or detections too, from an id on again."""
        self.execute(
            "INSERT INTO revisions (first, detections) VALUES (?, ?)", first, int(detections)
        )

    def note_gone(self, ids: Sequence[int]) -> None:
        """Make readers forget deleted detections, and tracklets of the same ids."""
        if len(ids) > _MAX_GONE:
            return self.revise(min(ids), detections=True)
        rows = [(i, GONE) for i in ids]
        self.execute_many("INSERT INTO revisions (first, detections) VALUES (?, ?)", rows)

    def list_revisions(self, after: int) -> list[tuple[int, int, int]]:
        """Return (id, first, kind) of the later revisions.

        The kind is 1 if detections changed from the id `first` on, 0 if tracklets did, `GONE` if
        this id alone was deleted.
        """
        return self.select("id, first, detections FROM revisions WHERE id > ? ORDER BY id", after)
