"""Rankings of frames and of sightings, compared on the same positives.

Each person passes each camera once: one visit. A query is a single detection before one camera;
its positive is the visit before the other one. A visit ranks where its best frame, or its best
sighting, ranks. A frame belongs to its person, a sighting to the person of most of its detections.
So frames and sightings have the same positives and the same negatives.

Shape letters: N frames, U sightings, D embedding width.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from clsa_search.gallery import StoredDetection, Tracklet

_BEST = 3  # detections of a sighting in its rescored similarity
_RESCORED = 200  # first sightings of a ranking


class CameraClip(NamedTuple):
    """The linked detections of one camera.

    Args:
        embeddings: (N, D) of the frames' detections.
        owners: (N,) person of each.
        pooled: (U, D) embeddings of the sightings.
        members: rows of the detections of each sighting.
        holders: (U,) person of most of its detections.
    """

    embeddings: np.ndarray
    owners: np.ndarray
    pooled: np.ndarray
    members: list[np.ndarray]
    holders: np.ndarray


def make_camera_clip(
    detections: Sequence[StoredDetection],
    owners: np.ndarray,
    tracklets: Sequence[Tracklet],
    members: Sequence[Sequence[int]],
) -> CameraClip:
    """Return the arrays of linked detections."""
    place = {detection.detection_id: row for row, detection in enumerate(detections)}
    rows = [np.array([place[i] for i in ids]) for ids in members]
    return CameraClip(
        np.stack([detection.embedding for detection in detections]),
        owners,
        np.stack([np.asarray(tracklet.embedding) for tracklet in tracklets]),
        rows,
        np.array([np.bincount(owners[one]).argmax() for one in rows]),
    )


def compare_rankings(clips: Sequence[CameraClip]) -> dict[str, float]:
    """Return the mean reciprocal rank of the visit, its mAP, by frames and by sightings."""
    found: dict[str, list[float]] = {}
    for one, other in (clips, clips[::-1]):
        for person in np.intersect1d(one.owners, other.owners):
            rows = np.flatnonzero(one.owners == person)
            query = one.embeddings[rows[len(rows) // 2]]
            for name, value in rank_visit(query, person, other).items():
                found.setdefault(name, []).append(value)
    return {f"mAP {name}": float(np.mean(values)) for name, values in found.items()}


def rank_frames(query: np.ndarray, clip: CameraClip) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarities (N,) of frames and their people (N,)."""
    return clip.embeddings @ query, clip.owners


def rank_sightings(query: np.ndarray, clip: CameraClip) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarities (U,) of sightings and their people (U,)."""
    return clip.pooled @ query, clip.holders


def rank_rescored(query: np.ndarray, clip: CameraClip) -> tuple[np.ndarray, np.ndarray]:
    """Return similarities of sightings; the first ones are the means of their best members."""
    similarities = clip.pooled @ query
    frames = clip.embeddings @ query
    first = np.argsort(-similarities)[:_RESCORED]
    rescored = similarities - 2.0  # behind all that are rescored
    rescored[first] = [np.sort(frames[clip.members[row]])[-_BEST:].mean() for row in first]
    return rescored, clip.holders


RANKINGS: dict[str, Callable[[np.ndarray, CameraClip], tuple[np.ndarray, np.ndarray]]] = {
    "frames": rank_frames,
    "sightings": rank_sightings,
    "rescored": rank_rescored,
}


def rank_visit(query: np.ndarray, person: int, clip: CameraClip) -> dict[str, float]:
    """Return the reciprocal rank of the visit of the searched person by each ranking."""
    return {name: _rank(*rank(query, clip), person) for name, rank in RANKINGS.items()}


def _rank(similarities: np.ndarray, people: np.ndarray, person: int) -> float:
    """Return the reciprocal rank of a person's visit among visits; 0 if nothing belongs to it."""
    if not (people == person).any():
        return 0.0
    own = similarities[people == person].max()
    return 1.0 / (1 + len(np.unique(people[(people != person) & (similarities >= own)])))
