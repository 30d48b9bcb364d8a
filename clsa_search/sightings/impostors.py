"""Pairs of tracklets that are certainly two people.

Shape letters: B boxes, P pairs.
"""

from collections.abc import Collection, Sequence

import numpy as np

from clsa_search.sightings.frame_pairs import compute_iou

_MIN_SCORE = 0.7  # of both boxes
_MAX_IOU = 0.1  # boxes that overlap more may be one person
_CROWD = 100  # people of a frame that are paired
_PARTNERS = 8  # pairs of one tracklet: nobody dominates the tail


def pair_people_of_frames(
    frames: np.ndarray,
    tracklets: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    limit: int,
    seed: int = 0,
) -> np.ndarray:
    """Pair people of one frame: their boxes barely overlap, and both are confident.

    Args:
        frames: (B,) number of the frame of each box.
        tracklets: (B,) id of the tracklet of each box.
        boxes: (B, 4) XYXY.
        scores: (B,) detection scores.
        limit: largest number of pairs.
        seed: seed of the choice.

    Returns:
        (P, 2) int64 ids of tracklets, the lower one first, each pair once.
    """
    rows = np.flatnonzero(scores >= _MIN_SCORE)
    rows = rows[frames[rows].argsort(kind="stable")]
    groups = np.split(rows, np.flatnonzero(np.diff(frames[rows])) + 1)
    found = [np.empty((0, 2), np.int64)]
    for group in groups:
        group = group[:: len(group) // _CROWD + 1]
        first, second = np.triu_indices(len(group), 1)
        first, second = group[first], group[second]
        apart = compute_iou(boxes[first], boxes[second]) < _MAX_IOU
        found.append(np.stack([tracklets[first], tracklets[second]], axis=1)[apart])
    return _choose(np.concatenate(found), limit, seed)


def pair_concurrent(
    first: np.ndarray,
    last: np.ndarray,
    cameras: Sequence[str | None],
    apart: Collection[Collection[str]],
    limit: int,
    seed: int = 0,
) -> np.ndarray:
    """Pair tracklets of one time on cameras apart: nobody is at two places at once.

    Args:
        first: (N,) time of the first detection of each tracklet on one clock; NaN if unknown.
        last: (N,) time of the last one.
        cameras: camera of each.
        apart: groups of cameras that never see one person at the same time.
        limit: largest number of pairs.
        seed: seed of the choice.

    Returns:
        (P, 2) int64 indices of tracklets, the lower one first, each pair once.
    """
    names = np.array(["" if camera is None else camera for camera in cameras], object)
    order = np.flatnonzero(~(np.isnan(first) | np.isnan(last)))
    order = order[first[order].argsort(kind="stable")]
    found = [np.empty((0, 2), np.int64)]
    for group in apart:
        rows = order[np.isin(names[order], list(group))] if len(order) else order
        for step in range(1, _PARTNERS * 4):  # the next ones to begin
            one, other = rows[:-step], rows[step:]
            meets = (first[other] <= last[one]) & (names[one] != names[other])
            found.append(np.stack([one[meets], other[meets]], axis=1))
    return _choose(np.concatenate(found), limit, seed)


def _choose(pairs: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Choose different pairs, few of each tracklet."""
    pairs = np.sort(pairs.astype(np.int64), axis=1)
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    pairs = np.random.default_rng(seed).permutation(pairs)
    kept = (_count_before(pairs[:, 0]) < _PARTNERS) & (_count_before(pairs[:, 1]) < _PARTNERS)
    return pairs[kept][:limit]


def _count_before(values: np.ndarray) -> np.ndarray:
    """Return how often each value occurred before its place."""
    order = values.argsort(kind="stable")
    arranged = values[order]
    counts = np.empty(len(values), int)
    counts[order] = np.arange(len(values)) - np.searchsorted(arranged, arranged)
    return counts
