"""Erased people: their places and times are remembered, so that they do not come back.

Nothing of a person is kept: no embedding, no image, no name. A place is a box and a span of time
within a file; the file is known by hashes of its path and of its content, so that it is found again
after a move, in a copy, and under the same name in another form.
"""

import hashlib
import os
import re
from collections.abc import Sequence

import numpy as np

from clsa_search.gallery import Filter, GalleryStore, Note, Source, StoredDetection
from clsa_search.retrieval.erased_places import Place, make_places
from clsa_search.retrieval.source_base import seconds_in_file
from clsa_search.structures import ImageDetections

SUPPRESSED_KIND = "suppressed"
_PART = 1 << 20  # bytes of a file, at its begin and at its end
_RATE = re.compile(r" (\d[\d.e+-]*)/s(?: |,|$)")  # of a fingerprint


class Suppression:
    """Places of erased people, by file.

    Args:
        stores: galleries with these places.
    """

    def __init__(self, *stores: GalleryStore) -> None:
        self._places: dict[str, list[Place]] = {}
        self._known: dict[str, list[Place]] = {}  # by path
        self._has_contents = False
        for note in (note for store in stores for note in store.notes(SUPPRESSED_KIND)):
            places = [
                Place(start, stop, (box[0], box[1], box[2], box[3]), area)
                for start, stop, *box, area in note.values["places"]
            ]
            for name in {note.values["file"], note.values.get("content")} - {None}:
                self._places.setdefault(name, []).extend(places)
            self._has_contents |= note.values.get("content") is not None

    def find_places(self, path: str) -> Sequence[Place]:
        """Return the places of erased people in a file."""
        if not self._places:
            return ()
        if path not in self._known:
            content = hash_content(path) if self._has_contents else None
            names = {hash_path(path), content} - {None}
            found = [place for name in names if name for place in self._places.get(name, ())]
            self._known[path] = list(dict.fromkeys(found))
        return self._known[path]

    def drop(
        self, detections: ImageDetections, path: str, seconds: float | None
    ) -> ImageDetections:
        """Return the detections without those at a suppressed place.

        Args:
            detections: detections of an image or a frame.
            path: path of the file.
            seconds: time within the file; None for an image.
        """
        if not self._places or not len(detections):
            return detections
        now = 0.0 if seconds is None else seconds
        active = [
            one for one in self.find_places(path) if one.start - 1e-3 <= now <= one.stop + 1e-3
        ]
        if not active:
            return detections
        boxes = detections.boxes.tolist()
        keep = [not any(one.holds(box) for one in active) for box in boxes]
        return detections[np.array(keep)]


def suppress_tracklets(store: GalleryStore, tracklets: Sequence[int]) -> None:
    """Remember the places of sightings, before they are deleted.

    Raises:
        InputError: there is no such sighting.
    """
    sources = {source.path: source for source in store.sources()}
    notes = []
    contents: dict[str, str | None] = {}
    for tracklet in tracklets:
        detections = store.tracklet_detections(tracklet)
        source = sources[detections[0].source]
        timed = [(_find_seconds(one, source), one.box) for one in detections]
        is_image = detections[0].frame is None
        places = make_places(timed, is_image=is_image, interval=_find_interval(source))
        rows = [[place.start, place.stop, *place.box, place.area] for place in places]
        if source.path not in contents:
            contents[source.path] = hash_content(source.path)
        names = {"file": hash_path(source.path), "content": contents[source.path]}
        notes.append(Note(SUPPRESSED_KIND, {**names, "places": rows}))
    store.write_notes(notes)


def merge_erasures(store: GalleryStore, other: GalleryStore) -> int:
    """Remember the erased people of another gallery too; return the number of new ones."""
    known = [dict(note.values) for note in store.notes(SUPPRESSED_KIND)]
    new = [one for one in other.notes(SUPPRESSED_KIND) if dict(one.values) not in known]
    store.write_notes([Note(SUPPRESSED_KIND, one.values) for one in new])
    return len(new)


def find_erased(store: GalleryStore, suppression: Suppression) -> list[int]:
    """Return the ids of the stored detections at places of erased people."""
    ids = []
    for source in store.sources():
        if not suppression.find_places(source.path):
            continue
        for one in store.list(Filter(sources=[source.path])):
            seconds = None if one.frame is None else _find_seconds(one, source)
            found = ImageDetections(
                np.array([one.box], np.float32), np.ones(1, np.float32), one.embedding[None]
            )
            if not len(suppression.drop(found, source.path, seconds)):
                ids.append(one.detection_id)
    return ids


def move_suppressed(store: GalleryStore, path: str, new_path: str) -> None:
    """Let the places of a file follow its move."""
    old, new = hash_path(path), hash_path(new_path)
    moved = [
        Note(SUPPRESSED_KIND, {**note.values, "file": new}, note_id=note.note_id)
        for note in store.notes(SUPPRESSED_KIND)
        if note.values["file"] == old
    ]
    if moved:
        store.write_notes(moved)


def hash_path(path: str) -> str:
    """Return a text that tells a path from others, and does not show it."""
    return hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()


def hash_content(path: str) -> str | None:
    """Return a hash of a file's bytes; None if it cannot be read.

    Its size, begin and end are read: copies of a file have the same text.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(f"{size} ".encode() + file.read(_PART))
            file.seek(max(0, size - _PART))
            digest.update(file.read(_PART))
    except (OSError, ValueError):
        return None
    return digest.hexdigest()


def _find_interval(source: Source) -> float:
    """Return the seconds between the sampled frames of a source."""
    rate = _RATE.search(source.fingerprint or "")
    return 1 / max(float(rate[1]), 1e-3) if rate else 1.0


def _find_seconds(detection: StoredDetection, source: Source) -> float:
    return 0.0 if detection.time is None else seconds_in_file(source, detection.time)
