"""Make tracklets of linked detections: one embedding for several detections.

Shape letters: M detections of a tracklet, D embedding width.
"""

from collections.abc import Sequence

import numpy as np

from clsa_search.gallery import StoredDetection, Tracklet
from clsa_search.sightings.frame_pairs import compute_areas, compute_common, iterate_frame_pairs
from clsa_search.sightings.linking import LinkInput, group_rows

_FULL_HEIGHT = 128  # pixels; taller people are not seen better
_LEAST = 1e-3  # weight of a detection that shows nothing


def to_link_input(detections: Sequence[StoredDetection]) -> LinkInput:
    """Return the arrays of detections, at least one, in their order."""
    return LinkInput(
        frames=np.array([-1 if one.frame is None else one.frame for one in detections], np.int64),
        times=np.array([np.nan if one.time is None else one.time for one in detections]),
        boxes=np.array([one.box for one in detections], np.float64),
        embeddings=np.stack([one.embedding for one in detections]),
    )


def make_tracklets(
    detections: Sequence[StoredDetection], labels: np.ndarray
) -> tuple[list[Tracklet], list[list[int]]]:
    """Make the tracklets of a source.

    Args:
        detections: detections in the order of frames.
        labels: (N,) number of the tracklet of each.

    Returns:
        Tracklets, and the ids of the detections of each.
    """
    if not detections:
        return [], []
    arrays = to_link_input(detections)
    qualities = _rate(arrays, np.array([one.score for one in detections]))
    tracklets, members = [], []
    for rows in group_rows(labels):
        inside = [detections[row] for row in rows]
        ids = sorted(one.detection_id for one in inside)
        best = int(qualities[rows].argmax())
        embedding = _average(arrays.embeddings[rows], qualities[rows], best)
        first, last = inside[0], inside[-1]
        tracklets.append(
            Tracklet(
                tracklet_id=ids[0],
                source=first.source,
                camera=first.camera,
                first=first.time,
                last=last.time,
                first_frame=first.frame,
                last_frame=last.frame,
                detections=len(ids),
                best=inside[best].detection_id,
                purity=min(1.0, float((arrays.embeddings[rows] @ embedding).min())),
                embedding=embedding,
                score=max(one.score for one in inside),
                chain=ids[0],
            )
        )
        members.append(ids)
    return tracklets, members


def _rate(arrays: LinkInput, scores: np.ndarray) -> np.ndarray:
    """Rate how well each detection shows its person: certain, tall, not covered by others."""
    boxes, free = arrays.boxes, np.ones(len(arrays))
    areas = np.maximum(compute_areas(boxes), 1e-9)
    for pair in iterate_frame_pairs(arrays.frames):
        common = compute_common(boxes[pair[0]], boxes[pair[1]])
        for rows in pair:
            free[rows] = np.minimum(free[rows], np.maximum(0, 1 - common / areas[rows]))
    heights = boxes[:, 3] - boxes[:, 1]
    return scores * np.minimum(1, heights / _FULL_HEIGHT) * free


def _average(embeddings: np.ndarray, qualities: np.ndarray, best: int) -> np.ndarray:
    """Return the mean of embeddings (M, D) weighted by qualities (M,), scaled to unit length."""
    if len(embeddings) == 1:
        return embeddings[0]
    weights = np.maximum(qualities, _LEAST)
    mean = weights @ embeddings / weights.sum()
    length = np.linalg.norm(mean)
    if length < _LEAST:  # opposite ones have no mean
        return embeddings[best]
    return (mean / length).astype(np.float32)
