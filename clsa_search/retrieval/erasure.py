"""Erased people: their places and times are remembered, so that they do not come back.

Nothing of a person is kept: no embedding, no image, no name. A place is a box and a span of time
within a file; the file is known by a hash of its path.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from clsa_search.gallery import GalleryStore, Note, Source, StoredDetection
from clsa_search.retrieval.source_base import seconds_in_file
from clsa_search.structures import ImageDetections

SUPPRESSED_KIND = "suppressed"
_MAX_GAP = 3.0  # seconds between detections that belong together
_MARGIN = 1.0  # seconds before and after, as another rate finds other frames
_GROWTH = 0.5  # of a box at these ends, in widths and heights
_MIN_COVER = 0.6  # of a box, to be suppressed
_MIN_AREA = 0.25  # of a suppressed box: smaller ones in it are other people


Box = tuple[float, float, float, float]


class Place(NamedTuple):
    """A box and a span of time within a file.

    Args:
        start: first second; 0 for an image.
        stop: last second; 0 for an image.
        box: XYXY in pixels, around the person during the span.
        area: smallest area of the person's box.
    """

    start: float
    stop: float
    box: Box
    area: float


class Suppression:
    """Places of erased people, by file.

    Args:
        store: gallery that remembers them; None for no places.
    """

    def __init__(self, store: GalleryStore | None = None) -> None:
        self._places: dict[str, list[Place]] = {}
        for note in store.notes(SUPPRESSED_KIND) if store else ():
            places = self._places.setdefault(note.values["file"], [])
            for start, stop, *box, area in note.values["places"]:
                places.append(Place(start, stop, (box[0], box[1], box[2], box[3]), area))

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
        places = self._places.get(hash_path(path), ())
        now = 0.0 if seconds is None else seconds
        active = [one for one in places if one.start - 1e-3 <= now <= one.stop + 1e-3]
        if not active:
            return detections
        keep = [not any(_is_at(box, one) for one in active) for box in detections.boxes]
        return detections[np.array(keep)]


def suppress_tracklets(store: GalleryStore, tracklets: Sequence[int]) -> None:
    """Remember the places of sightings, before they are deleted.

    Raises:
        InputError: there is no such sighting.
    """
    sources = {source.path: source for source in store.sources()}
    notes = []
    for tracklet in tracklets:
        detections = store.tracklet_detections(tracklet)
        source = sources[detections[0].source]
        timed = [(_find_seconds(one, source), one.box) for one in detections]
        places = make_places(timed, is_image=detections[0].frame is None)
        rows = [[place.start, place.stop, *place.box, place.area] for place in places]
        notes.append(Note(SUPPRESSED_KIND, {"file": hash_path(source.path), "places": rows}))
    store.write_notes(notes)


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


def make_places(boxes: Sequence[tuple[float, Box]], *, is_image: bool = False) -> list[Place]:
    """Return the places of a person from the times and boxes of the detections.

    Args:
        boxes: seconds and box of each detection.
        is_image: whether the file is an image, without times.
    """
    ordered = sorted(boxes)
    if is_image:
        return [Place(0.0, 0.0, box, _area(box)) for _, box in ordered]
    places = []
    joined = [later - time <= _MAX_GAP for (time, _), (later, _) in pairwise(ordered)]
    for ((time, box), (later, other)), is_joined in zip(pairwise(ordered), joined, strict=True):
        if is_joined:
            places.append(Place(time, later, _join(box, other), min(_area(box), _area(other))))
    ends = zip(ordered, [False, *joined], [*joined, False], strict=True)
    for (time, box), has_before, has_after in ends:
        start, stop = time - _MARGIN * (not has_before), time + _MARGIN * (not has_after)
        if start < stop:
            places.append(Place(start, stop, _grow(box), _area(box)))
    return places


def hash_path(path: str) -> str:
    """Return a text that tells a path from others, and does not show it."""
    return hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()


def _find_seconds(detection: StoredDetection, source: Source) -> float:
    return 0.0 if detection.time is None else seconds_in_file(source, detection.time)


def _is_at(box: np.ndarray, place: Place) -> bool:
    x0, y0, x1, y1 = box.tolist()
    area = _area((x0, y0, x1, y1))
    left, top, right, bottom = place.box
    inside = max(0.0, min(x1, right) - max(x0, left)) * max(0.0, min(y1, bottom) - max(y0, top))
    return inside >= _MIN_COVER * area and area >= _MIN_AREA * place.area


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _join(one: Box, other: Box) -> Box:
    x0, y0 = min(one[0], other[0]), min(one[1], other[1])
    return x0, y0, max(one[2], other[2]), max(one[3], other[3])


def _grow(box: Box) -> Box:
    width, height = _GROWTH * (box[2] - box[0]), _GROWTH * (box[3] - box[1])
    return box[0] - width, box[1] - height, box[2] + width, box[3] + height
