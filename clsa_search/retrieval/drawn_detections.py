"""Detections that somebody drew by hand, for people whom the detector missed."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryImage, GalleryStore, Placement, StoredDetection
from clsa_search.retrieval.erasure import Suppression
from clsa_search.retrieval.index_planner import PlannedFile
from clsa_search.retrieval.predictor import PersonSearchPredictor, check_boxes
from clsa_search.retrieval.source_base import find_base
from clsa_search.sightings.frame_pairs import compute_iou
from clsa_search.sightings.source_links import link_sources
from clsa_search.structures import ImageDetections
from clsa_search.wording import count_noun

DRAWN_SCORE = 1.0
"""Score of a drawn detection: a person saw that there is one."""

SAME_IOU = 0.5
"""IoU from which two boxes of a frame are one person, as detectors take it."""


class DrawnFrame(NamedTuple):
    """The frame that a box is drawn on.

    Args:
        path: path of a stored source.
        frame: number of the frame; None for an image.
        seconds: seconds from the first frame; None for an image.
        image: (H, W, 3) RGB uint8.
    """

    path: str
    frame: int | None
    seconds: float | None
    image: np.ndarray


def add_drawn(
    store: GalleryStore, predictor: PersonSearchPredictor, drawn: DrawnFrame, box: Sequence[float]
) -> StoredDetection:
    """Store a drawn box with its embedding; it joins a sighting, or becomes one.

    The sightings of before stay as they are. In a source that is not linked yet it is a sighting
    of its own until then.

    Args:
        store: gallery, opened with weights.
        predictor: model with these weights.
        drawn: the frame.
        box: XYXY in pixels of the frame; it is cut at the borders.

    Raises:
        InputError: the source is not stored; the box is none, repeats a stored detection, or lies
            at a place of an erased person; or the gallery cannot be written.
    """
    boxes = check_boxes(box, drawn.image).astype(np.float32)
    source = next((one for one in store.sources() if one.path == drawn.path), None)
    if source is None:
        raise InputError(f"source: {drawn.path} is not indexed; expected an indexed one")
    stored = list_frame(store, drawn, find_base(source))
    _check_new(stored, boxes)
    found = ImageDetections(
        boxes, np.full(1, DRAWN_SCORE, np.float32), predictor.embed(drawn.image, boxes)
    )
    if not len(Suppression(store).drop(found, drawn.path, drawn.seconds)):
        raise InputError(
            f"box: {boxes[0].tolist()} is at a place of somebody who was erased; expected another "
            "person"
        )
    time = source.start if drawn.seconds is None else find_base(source) + drawn.seconds
    time = stored[0].time if stored else time
    camera = stored[0].camera if stored else source.camera
    image = GalleryImage(drawn.path, found, drawn.frame, time, camera, "hand")
    (number,) = store.add([image]).tolist()
    if source.is_linked:
        link_sources(store, [drawn.path])
    return store.get([number])[0]


def list_frame(store: GalleryStore, drawn: DrawnFrame, base: float) -> list[StoredDetection]:
    """Return the stored detections of a frame.

    Args:
        store: gallery.
        drawn: the frame.
        base: time of the first frame of its source.
    """
    where = Filter(sources=[drawn.path])
    if drawn.seconds is not None:  # time stamps are up to half a frame apart
        time = base + drawn.seconds
        where = Filter(sources=[drawn.path], since=time - 0.5, until=time + 0.5)
    return [one for one in store.list(where) if one.frame == drawn.frame]


def drop_drawn(found: ImageDetections, drawn: Sequence[StoredDetection]) -> ImageDetections:
    """Drop the detections of people for whom somebody drew a box in the frame, one for each box."""
    is_kept = np.ones(len(found), bool)
    for one in drawn if len(found) else ():
        overlaps = _compare(one.box, found.boxes) * is_kept
        if overlaps.max() >= SAME_IOU:
            is_kept[overlaps.argmax()] = False
    return found[is_kept]


class DrawnUpkeep(NamedTuple):
    """What indexing finds of drawn detections before it begins.

    Args:
        problems: (path, reason) of files that lose theirs, or whose own cannot be read.
        unreadable: paths of the latter, which stay as they are.
    """

    problems: list[tuple[str, str]]
    unreadable: frozenset[str]


def prepare_drawn(store: GalleryStore, files: Sequence[PlannedFile]) -> DrawnUpkeep:
    """Let drawn detections of files that are indexed again follow their cameras and times.

    Args:
        store: gallery.
        files: files to index.
    """
    renewed = {file.path: file for file in files if file.replaces is not None}
    counts, faults = _count_drawn(store, list(renewed))
    problems = list(faults.items())
    for path, count in counts.items():
        file, old = renewed[path], renewed[path].replaces
        assert old is not None
        if not file.keeps_drawn:
            drawn = count_noun(count, "detection")
            reason = f"{path}: has changed; {drawn} drawn by hand in its earlier frames deleted"
            problems.append((path, reason))
        elif file.placement != Placement(old.camera, old.start, old.start_from):
            store.place(path, file.placement, old.fingerprint, find_base(old))
    return DrawnUpkeep(problems, frozenset(faults))


def _count_drawn(store: GalleryStore, paths: Sequence[str]) -> tuple[Counter, dict[str, str]]:
    """Return the numbers of drawn detections by path, and why those of some cannot be read."""
    counts: Counter = Counter()
    faults: dict[str, str] = {}
    try:
        counts.update(one.source for one in (store.list_drawn(paths) if paths else ()))
    except InputError as error:
        if len(paths) == 1:
            delete = f"`clsa-search delete {store.address} {paths[0]} --yes`"
            return counts, {paths[0]: f"{error}: {paths[0]} is left; {delete} and index it again"}
        for path in paths:
            more, faulty = _count_drawn(store, [path])
            counts += more
            faults |= faulty
    return counts, faults


def _check_new(stored: Sequence[StoredDetection], boxes: np.ndarray) -> None:
    """Check that a box (1, 4) shows somebody who has no detection in its frame.

    Raises:
        InputError: it overlaps a stored detection.
    """
    if not stored:
        return
    overlaps = _compare(boxes[0], np.array([one.box for one in stored]))
    best = int(overlaps.argmax())
    if overlaps[best] >= SAME_IOU:
        raise InputError(
            f"box: {boxes[0].tolist()} shows detection {stored[best].detection_id} of this frame "
            f"(IoU {overlaps[best]:.2f}); expected somebody without one: search by that detection"
        )


def _compare(box: Sequence[float] | np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the IoU (N,) of a box with each of the boxes (N, 4)."""
    return compute_iou(np.broadcast_to(box, boxes.shape), boxes)
