"""Copying what users added to a gallery: watch list, verdicts, erased places, retention, log."""

from collections.abc import Sequence
from dataclasses import replace

from clsa_search.gallery import Filter, GalleryStore, Note, StoredDetection
from clsa_search.retrieval.audit_log import AUDIT_KIND
from clsa_search.retrieval.erasure import merge_erasures
from clsa_search.retrieval.retention import RETENTION_KIND
from clsa_search.retrieval.shift_plans import SHIFT_KIND
from clsa_search.retrieval.verdict_store import VERDICT_KIND, read_verdicts
from clsa_search.retrieval.watch_list import EXAMPLE_KIND, HIT_KIND, PERSON_KIND, list_people

_PLAIN = RETENTION_KIND, AUDIT_KIND, SHIFT_KIND  # they name no row of the gallery


def copy_notes(gallery: GalleryStore, copy: GalleryStore) -> int:
    """Copy notes after the detections and tracklets; return the number of copied people.

    Retention, log and an interrupted shift of the copy become those of the original; erased places
    of both count. People whose names the copy knows are left as they are there. Verdicts of the
    original replace those of the same query on the same sighting; others stay, and damaged ones are
    left out. The calibration is made again by indexing.

    Args:
        gallery: the original.
        copy: gallery with the same detections in the same order.
    """
    for kind in _PLAIN:
        stale = [one.note_id for one in copy.notes(kind) if one.note_id is not None]
        copy.write_notes([replace(one, note_id=None) for one in gallery.notes(kind)], stale)
    merge_erasures(copy, gallery)
    known = {person.name for person in list_people(copy)}
    people = [one for one in gallery.notes(PERSON_KIND) if one.values["name"] not in known]
    for note in people:
        _copy_person(gallery, copy, note)
    _copy_verdicts(gallery, copy)
    return len(people)


def _copy_verdicts(gallery: GalleryStore, copy: GalleryStore) -> None:
    """Copy the user's verdicts on matches."""
    kept = {one.note_id for one in read_verdicts(gallery)[0]}
    notes = gallery.read_notes(VERDICT_KIND).whole
    moved = _move(gallery, copy, [one for one in notes if one.note_id in kept])
    said = {(one.values["query"], one.detection) for one in moved}
    stale = [
        one.note_id for one in read_verdicts(copy)[0] if (one.query, one.verdict.sighting) in said
    ]
    copy.write_notes(moved, stale)


def _copy_person(gallery: GalleryStore, copy: GalleryStore, person: Note) -> None:
    """Copy a person with examples and hits."""
    values = {**person.values, "after": _translate(gallery, copy, person.values["after"])}
    (number,) = copy.write_notes([Note(PERSON_KIND, values)])
    notes = [
        Note(one.kind, {**one.values, "person": number}, one.detection, one.data)
        for kind in (EXAMPLE_KIND, HIT_KIND)
        for one in gallery.notes(kind)
        if one.values["person"] == person.note_id
    ]
    copy.write_notes(_move(gallery, copy, notes))


def _move(gallery: GalleryStore, copy: GalleryStore, notes: Sequence[Note]) -> list[Note]:
    """Return new notes about the copies of their detections."""
    about = {one.detection for one in notes if one.detection is not None}
    found = {one.detection_id: _find(copy, one) for one in gallery.get(sorted(about))}
    return [
        replace(
            one, note_id=None, detection=None if one.detection is None else found[one.detection]
        )
        for one in notes
    ]


def _translate(gallery: GalleryStore, copy: GalleryStore, after: int) -> int:
    """Return the id in the copy of the last tracklet up to an id; 0 without one."""
    count = sum(one.tracklet_id <= after for one in gallery.tracklets()) if after else 0
    last = copy.tracklets(limit=1, offset=count - 1) if count else []
    return last[0].tracklet_id if last else 0


def _find(copy: GalleryStore, detection: StoredDetection) -> int:
    """Return the id of the copy of a detection."""
    where = Filter(sources=[detection.source], since=detection.time, until=detection.time)
    same = (detection.frame, detection.box)
    return next(one.detection_id for one in copy.list(where) if (one.frame, one.box) == same)
