"""Make tracklets of linked detections: one embedding for several detections.

Shape letters: M detections of a tracklet, D embedding width.
"""

from collections.abc import Sequence

import numpy as np

from clsa_search.gallery import StoredDetection, Tracklet
from clsa_search.sightings.linking import LinkInput, group_rows

_PARTS, _APART = 5, 1.0  # most detections of an embedding, and seconds between them
_FULL_HEIGHT = 128  # pixels; taller people are not seen better


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
        chosen = choose_parts(qualities[rows], arrays.seconds[rows])
        embedding = _average(arrays.embeddings[rows[chosen]])
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
                best=inside[chosen[0]].detection_id,
                purity=min(1.0, float((arrays.embeddings[rows] @ embedding).min())),
                embedding=embedding,
                score=max(one.score for one in inside),
                chain=ids[0],
            )
        )
        members.append(ids)
    return tracklets, members


def choose_parts(qualities: np.ndarray, seconds: np.ndarray) -> list[int]:
    """Choose a few of the best detections of a tracklet that lie apart in time, best first.

    Args:
        qualities: (M,) see `_rate`.
        seconds: (M,) times.

    Returns:
        Their positions, at least one.
    """
    chosen: list[int] = []
    for position in np.argsort(-qualities, kind="stable").tolist():
        gaps = np.abs(seconds[chosen] - seconds[position])
        if (gaps >= _APART).all():
            chosen.append(position)
        if len(chosen) == _PARTS:
            break
    return chosen


def _rate(arrays: LinkInput, scores: np.ndarray) -> np.ndarray:
    """Rate how well each detection shows its person: certain, tall, not covered by others."""
    heights = arrays.boxes[:, 3] - arrays.boxes[:, 1]
    free = np.ones(len(arrays))
    for rows in group_rows(arrays.frames):
        if len(rows) > 1 and arrays.frames[rows[0]] >= 0:
            free[rows] = 1 - _cover(arrays.boxes[rows])
    return scores * np.minimum(1, heights / _FULL_HEIGHT) * free


def _cover(boxes: np.ndarray) -> np.ndarray:
    """Return the largest share of each box (M, 4) that another one covers."""
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    common = np.maximum(high - low, 0).prod(axis=2)
    np.fill_diagonal(common, 0)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.minimum(1, common.max(axis=1) / np.maximum(areas, 1e-9))


def _average(embeddings: np.ndarray) -> np.ndarray:
    """Return the mean of embeddings (M, D), scaled to unit length."""
    mean = embeddings.mean(axis=0)
    length = np.linalg.norm(mean)
    if len(embeddings) == 1 or length < 1e-3:  # opposite ones have no mean
        return embeddings[0].astype(np.float32)
    return (mean / length).astype(np.float32)
