"""Link the detections of one source to tracklets.

Shape letters: N detections of a source, M detections of a frame, T open tracklets, D embedding
width, P pairs.

At a few frames a second a person moves farther than the own width between two frames: the overlap
of boxes decides little, and appearance decides among the boxes that a person could have reached.
Two boxes of one frame are two people: their similarities tell how alike different people look to
this model in this light. No threshold has to be chosen.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from clsa_search.sightings.frame_pairs import compute_iou, iterate_frame_pairs

MAX_GAP = 3.0
"""Seconds without a detection after which a tracklet ends."""

_REACH, _SPEED = 0.5, 1.5  # box heights: of a detector's error, and of a person in a second
_MAX_RATIO = 2.0  # of box heights
_APART = 0.1  # largest IoU of certainly different people of one frame
_OVERLAP = 0.3  # IoU of boxes that are probably of one person
_SHARES = 0.99, 0.9, 0.998  # of pairs below each limit, see `Limits`
_FEWEST_PAIRS, _MOST_PAIRS = 20, 20_000
_DEFAULT = (0.6, 0.5, 0.7)  # limits with fewer pairs
_NEAR_GAP = 1.0  # seconds; after more, reach and the people within it grow, and the limit too
_DISTANCE = 0.1  # weight of the distance, in shares of the reach, beside 1 - similarity
_MEAN_OF = 5  # detections in the moving mean of a tracklet
_FRAME_SECONDS = 1 / 25  # without times
_BLOCKED = 1e3
_X, _Y, _HEIGHT, _SECOND = range(4)  # columns of `_Places.spots`


class Limits(NamedTuple):
    """Lowest similarities of a link.

    Args:
        strict: between boxes that do not overlap, up to a second apart.
        relaxed: between boxes that overlap; it rises to the others within a second.
        far: between boxes with the largest gap.
    """

    strict: float
    relaxed: float
    far: float

    def find_lowest(self, gaps: np.ndarray, overlap: np.ndarray) -> np.ndarray:
        """Return the lowest similarity of each pair.

        Args:
            gaps: (P,) seconds.
            overlap: (P,) whether the boxes overlap.
        """
        lowest = np.interp(gaps, (_NEAR_GAP, MAX_GAP), (self.strict, self.far))
        eased = self.relaxed + (lowest - self.relaxed) * np.minimum(gaps / _NEAR_GAP, 1)
        return np.where(overlap, eased, lowest)


@dataclass(frozen=True)
class LinkInput:
    """Detections of one source in the order of frames.

    Args:
        frames: (N,) int64 ascending; -1 for an image.
        times: (N,) float64 seconds; NaN where unknown.
        boxes: (N, 4) float64 XYXY.
        embeddings: (N, D) float32 of unit length.
    """

    frames: np.ndarray
    times: np.ndarray
    boxes: np.ndarray
    embeddings: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def seconds(self) -> np.ndarray:
        """(N,) times for differences: from frames if one is unknown."""
        known = not np.isnan(self.times).any()
        return self.times if known else self.frames * _FRAME_SECONDS


class _Places(NamedTuple):
    """Detections to compare.

    Args:
        boxes: (M, 4) float64 XYXY.
        spots: (M, 4) float64 centers, heights of 1 or more, seconds.
        embeddings: (M, D) float32 of unit length.
    """

    boxes: np.ndarray
    spots: np.ndarray
    embeddings: np.ndarray

    @classmethod
    def make(cls, detections: LinkInput) -> "_Places":
        """Return the places of all detections."""
        boxes = detections.boxes
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        heights = np.maximum(boxes[:, 3] - boxes[:, 1], 1.0)
        spots = np.column_stack([centers, heights, detections.seconds])
        return cls(boxes, spots, detections.embeddings)


def link(detections: LinkInput) -> np.ndarray:
    """Link the detections of one source.

    Two detections of a frame, and detections of images, are never linked.

    Returns:
        (N,) int64 numbers of tracklets from 0, in the order of their first detections.
    """
    count = len(detections)
    is_image = detections.frames < 0
    labels = np.arange(count)
    videos = np.flatnonzero(~is_image)
    if len(videos):
        limits = find_limits(detections)
        tracker = _Tracker(detections, limits)
        for start, stop in _iterate_frames(detections.frames):
            if not is_image[start]:
                tracker.add(start, stop)
        labels[videos] = tracker.labels[videos] + count  # images have numbers below
        labels = _cut_impure(labels, detections, limits)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    return order[inverse]


def find_limits(detections: LinkInput) -> Limits:
    """Return the similarities that few pairs of different people of this source reach."""
    blocks = list(iterate_frame_pairs(detections.frames))
    rows, others = np.concatenate(blocks, axis=1) if blocks else np.empty((2, 0), np.int64)
    boxes, embeddings = detections.boxes, detections.embeddings
    apart = np.flatnonzero(compute_iou(boxes[rows], boxes[others]) < _APART)
    if len(apart) < _FEWEST_PAIRS:
        return Limits(*_DEFAULT)
    apart = apart[:: -(-len(apart) // _MOST_PAIRS)]
    similarities = np.einsum("pd,pd->p", embeddings[rows[apart]], embeddings[others[apart]])
    return Limits(*np.quantile(similarities, _SHARES).tolist())


class _Tracker:
    """Open tracklets while the frames of a source pass.

    Args:
        detections: detections of the source.
        limits: lowest similarities of a link.
    """

    def __init__(self, detections: LinkInput, limits: Limits) -> None:
        self._places = _Places.make(detections)
        self._limits = limits
        self.labels = np.full(len(detections), -1, np.int64)
        self._open = np.empty(0, np.int64)  # row of the last detection of each open tracklet
        # means are not scaled: a product with one is the mean similarity with its detections,
        # which varies less than that of a pair, for which the limits are
        self._means = np.empty((0, detections.embeddings.shape[1]), np.float32)
        self._sizes = np.empty(0, np.float32)
        self._count = 0

    def add(self, start: int, stop: int) -> None:
        """Link the detections of one frame, rows start to stop."""
        boxes, spots, embeddings = self._places
        keep = spots[start, _SECOND] - spots[self._open, _SECOND] <= MAX_GAP
        if not keep.all():
            self._open, self._means = self._open[keep], self._means[keep]
            self._sizes = self._sizes[keep]
        is_new = np.ones(stop - start, bool)
        if len(self._open):
            last = _Places(boxes[self._open], spots[self._open], self._means)
            new = _Places(*(column[start:stop] for column in self._places))
            tracks, columns = _match(last, new, self._limits)
            self._extend(tracks, start + columns)
            is_new[columns] = False
        if is_new.any():
            self._begin(start + np.flatnonzero(is_new))

    def _extend(self, tracks: np.ndarray, rows: np.ndarray) -> None:
        self.labels[rows] = self.labels[self._open[tracks]]
        self._open[tracks] = rows
        sizes = np.minimum(self._sizes[tracks] + 1, _MEAN_OF)
        means = self._means[tracks]
        self._sizes[tracks] = sizes
        self._means[tracks] = means + (self._places.embeddings[rows] - means) / sizes[:, None]

    def _begin(self, rows: np.ndarray) -> None:
        self.labels[rows] = np.arange(self._count, self._count + len(rows))
        self._count += len(rows)
        self._open = np.concatenate([self._open, rows])
        self._means = np.concatenate([self._means, self._places.embeddings[rows]])
        self._sizes = np.concatenate([self._sizes, np.ones(len(rows), np.float32)])


def match_ends(ends: LinkInput, begins: LinkInput, limits: Limits) -> list[tuple[int, int]]:
    """Match the ends of tracklets with the begins of others, as of the next clip.

    Args:
        ends: last detection of each tracklet.
        begins: first detection of each tracklet of the next clip.
        limits: lowest similarities of a link.

    Returns:
        Pairs of positions among ends and begins.
    """
    tracks, columns = _match(_Places.make(ends), _Places.make(begins), limits)
    return list(zip(tracks.tolist(), columns.tolist(), strict=True))


def _match(last: _Places, new: _Places, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Match open tracklets with detections within reach that look alike.

    Args:
        last: (T,) last places of tracklets, with their mean embeddings.
        new: (M,) detections.
        limits: lowest similarities of a link.

    Returns:
        Pairs of positions in both.
    """
    shares = _find_shares(last.spots[:, None], new.spots)
    near = shares <= 1
    tracks, columns = near.nonzero()
    similarities = (last.embeddings @ new.embeddings.T)[near]
    overlap = compute_iou(last.boxes[tracks], new.boxes[columns]) > _OVERLAP
    gaps = new.spots[columns, _SECOND] - last.spots[tracks, _SECOND]
    allowed = similarities >= limits.find_lowest(gaps, overlap)
    costs = np.full(near.shape, _BLOCKED)
    near_costs = 1 - similarities + _DISTANCE * shares[near]
    costs[tracks, columns] = np.where(allowed, near_costs, _BLOCKED)
    tracks, columns = linear_sum_assignment(costs)
    right = costs[tracks, columns] < _BLOCKED
    return tracks[right], columns[right]


def _find_shares(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return distances in shares of a person's reach (T, M); infinite where nobody can be.

    Args:
        before: (T, 1, 4) earlier spots.
        after: (M, 4) later spots.
    """
    gaps = after[:, _SECOND] - before[..., _SECOND]
    heights = np.maximum(after[:, _HEIGHT], before[..., _HEIGHT])
    low = np.minimum(after[:, _HEIGHT], before[..., _HEIGHT])
    steps = np.hypot(after[:, _X] - before[..., _X], after[:, _Y] - before[..., _Y])
    shares = steps / ((_REACH + _SPEED * gaps) * heights)
    possible = (gaps >= 0) & (gaps <= MAX_GAP) & (low * _MAX_RATIO >= heights)
    return np.where(possible, shares, np.inf)


def _cut_impure(labels: np.ndarray, detections: LinkInput, limits: Limits) -> np.ndarray:
    """Cut each tracklet once where its appearance changes, if its two parts look like two people.

    Args:
        labels: (N,) numbers of tracklets.
        detections: the detections.
        limits: lowest similarities of a link.
    """
    labels = labels.copy()
    highest = int(labels.max(initial=0))
    for rows in group_rows(labels):
        if len(rows) < 4:
            continue
        sums = np.cumsum(detections.embeddings[rows], axis=0, dtype=np.float64)
        before, after = sums[1:-2], sums[-1] - sums[1:-2]  # parts of two or more
        similarities = np.einsum("nd,nd->n", before, after)
        similarities /= np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1) + 1e-12
        weakest = int(similarities.argmin())
        if similarities[weakest] < limits.strict:
            highest += 1
            labels[rows[weakest + 2 :]] = highest
    return labels


def group_rows(labels: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each label, ascending, in the order of labels."""
    order = np.argsort(labels, kind="stable")
    borders = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(order, borders) if len(labels) else []


def _iterate_frames(frames: np.ndarray) -> list[tuple[int, int]]:
    """Return the first row and the row after the last of each frame; images count singly."""
    borders = np.flatnonzero((np.diff(frames) != 0) | (frames[1:] < 0)) + 1
    if not len(frames):
        return []
    starts = [0, *borders.tolist()]
    return list(zip(starts, [*starts[1:], len(frames)], strict=True))
