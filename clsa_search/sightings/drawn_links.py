"""Link detections drawn by hand: they join the tracklets of the others and never change them.

Shape letters: N detections of a source.
"""

from collections.abc import Sequence

import numpy as np

from clsa_search.gallery import StoredDetection
from clsa_search.sightings.linking import MAX_GAP, Limits, LinkInput, find_limits, link, match_ends
from clsa_search.sightings.pooling import to_link_input


def link_detections(detections: Sequence[StoredDetection]) -> np.ndarray:
    """Link the detections of one source; see :func:`link`.

    Those drawn by hand come last. Each joins a tracklet from before its frame, or else one from
    behind it, within reach and as alike; without one it begins its own.

    Args:
        detections: detections in the order of frames, at least one.

    Returns:
        (N,) int64 numbers of tracklets.
    """
    arrays = to_link_input(detections)
    is_drawn = np.array([one.origin == "hand" for one in detections])
    found = np.flatnonzero(~is_drawn)
    labels = np.full(len(detections), -1, np.int64)
    labels[found] = link(_select(arrays, found))
    limits = find_found_limits(detections)
    for row in np.flatnonzero(is_drawn).tolist():
        label = _find_tracklet(arrays, labels, row, limits)
        labels[row] = labels.max() + 1 if label is None else label
    return labels


def find_found_limits(detections: Sequence[StoredDetection]) -> Limits:
    """Return the limits of a source, see :func:`find_limits`; nothing drawn changes them."""
    found = [one for one in detections if one.origin != "hand"]
    return find_limits(to_link_input(found or detections))


def _find_tracklet(arrays: LinkInput, labels: np.ndarray, row: int, limits: Limits) -> int | None:
    """Return the number of the tracklet that a drawn detection belongs to; None without one."""
    frame, seconds = arrays.frames[row], arrays.seconds
    if frame < 0:
        return None
    is_near = (labels >= 0) & (np.abs(seconds - seconds[row]) <= MAX_GAP)
    is_near &= ~np.isin(labels, labels[(arrays.frames == frame) & (labels >= 0)])
    drawn = _select(arrays, np.array([row]))
    for is_before in (True, False):
        side = is_near & ((arrays.frames < frame) if is_before else (arrays.frames > frame))
        rows = np.flatnonzero(side)
        if not len(rows):
            continue
        rows = rows[::-1] if is_before else rows
        numbers, nearest = np.unique(labels[rows], return_index=True)
        others = _take_means(arrays, labels, numbers, rows[nearest])
        pairs = match_ends(*((others, drawn) if is_before else (drawn, others)), limits)
        if pairs:
            return int(numbers[pairs[0][0 if is_before else 1]])
    return None


def _take_means(
    arrays: LinkInput, labels: np.ndarray, numbers: np.ndarray, rows: np.ndarray
) -> LinkInput:
    """Return the places of some rows with the mean embeddings of their tracklets."""
    means = [arrays.embeddings[labels == number].mean(axis=0) for number in numbers]
    places = _select(arrays, rows)
    return LinkInput(places.frames, places.times, places.boxes, np.stack(means))


def _select(arrays: LinkInput, rows: np.ndarray) -> LinkInput:
    columns = arrays.frames, arrays.times, arrays.boxes, arrays.embeddings
    return LinkInput(*(column[rows] for column in columns))
