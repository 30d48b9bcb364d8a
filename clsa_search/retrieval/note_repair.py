"""Damaged notes of a gallery: found, and deleted without the others."""

from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore
from clsa_search.retrieval.audit_log import AUDIT_KIND
from clsa_search.retrieval.erasure import SUPPRESSED_KIND
from clsa_search.retrieval.retention import RETENTION_KIND
from clsa_search.retrieval.shift_plans import SHIFT_KIND, read_files
from clsa_search.retrieval.stored_calibration import CALIBRATION_KIND, to_calibration
from clsa_search.retrieval.verdict_store import VERDICT_KIND, read_verdicts
from clsa_search.retrieval.watch_list import EXAMPLE_KIND, HIT_KIND, PERSON_KIND

_PLAIN = (
    *(PERSON_KIND, EXAMPLE_KIND, HIT_KIND),
    *(RETENTION_KIND, AUDIT_KIND, SUPPRESSED_KIND, SHIFT_KIND),
)
LOSSES = {
    CALIBRATION_KIND: "calibration; `calibrate` makes it anew, with --apart as before",
    VERDICT_KIND: "verdict",
    PERSON_KIND: "person of the watch list; `people add` adds them again",
    EXAMPLE_KIND: "image of a person of the watch list; `people add` adds it again",
    HIT_KIND: "hit of the watch list",
    RETENTION_KIND: "days of retention; `retention` sets them again",
    SHIFT_KIND: "plan of an interrupted `retime --shift`; `list` shows the starts of all files",
    AUDIT_KIND: "line of the log",
    SUPPRESSED_KIND: "place of an erased person, who may come back; `delete --erase` erases again",
}
"""The loss with a note of each kind, and the command to make up for it."""


def find_damaged(store: GalleryStore) -> dict[str, list[int]]:
    """Return the ids of damaged notes by kind; kinds without damage are left out.

    Images and hits of lost people are damaged too.
    """
    read = {kind: store.read_notes(kind) for kind in (*_PLAIN, CALIBRATION_KIND)}
    found = {kind: notes.damaged for kind, notes in read.items()}
    people = {one.note_id for one in read[PERSON_KIND].whole}
    for kind in (EXAMPLE_KIND, HIT_KIND):
        lost = (one for one in read[kind].whole if one.values.get("person") not in people)
        found[kind] += [one.note_id or 0 for one in lost]
    for one in read[SHIFT_KIND].whole:
        try:
            read_files(store, one)
        except InputError:
            found[SHIFT_KIND].append(one.note_id or 0)
    found[VERDICT_KIND] = read_verdicts(store)[1]
    for one in read[CALIBRATION_KIND].whole:
        try:
            to_calibration(one, store.address)
        except InputError:  # its numbers are wrong
            found[CALIBRATION_KIND].append(one.note_id or 0)
    return {kind: sorted(found[kind]) for kind in LOSSES if found[kind]}


def delete_damaged(store: GalleryStore, damaged: dict[str, list[int]]) -> str | None:
    """Delete damaged notes.

    Returns:
        The reason why their bytes may still be on the disk; None if they are gone.
    """
    store.write_notes([], delete=[one for ids in damaged.values() for one in ids])
    return store.scrub()
