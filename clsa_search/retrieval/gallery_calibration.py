"""Calibration of a gallery: certain strangers are read, fitted and stored; searches use it.

Shape letters: K matches, D embedding width.
"""

import math
import time
from collections.abc import Collection, Sequence
from itertools import count

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, Note, Tracklet
from clsa_search.retrieval.time_format import CALENDAR_FROM
from clsa_search.sightings.calibration import (
    MIN_PAIRS,
    Calibration,
    Strangers,
    StrangerScale,
    TrackletSample,
    fit_strangers,
)
from clsa_search.sightings.cohort import Cohort, sample_cohort
from clsa_search.sightings.impostors import pair_concurrent, pair_people_of_frames

_KIND = "calibration"
_FRAMES = 3000  # to read
_MAX_PAIRS = 30_000
_SEED = 0

Moment = tuple[str, float | None]  # source and time of a frame; None: an image


def calibrate_gallery(
    store: GalleryStore, apart: Collection[Collection[str]] | None = None
) -> Calibration:
    """Calibrate a gallery and store the result.

    Args:
        store: gallery.
        apart: groups of cameras that never see one person at the same time; by default those of
            the calibration before.

    Raises:
        InputError: a camera is not in the gallery.
    """
    notes = store.notes(_KIND)
    before = _to_calibration(notes[-1], store.address) if notes and apart is None else None
    groups = tuple(tuple(sorted(set(group))) for group in apart or (before.apart if before else ()))
    if apart is not None:
        _check_cameras(store, groups)
    calibration = _fit(store, groups)
    data = np.array(calibration.cohort, "<i8").tobytes()
    note = Note(_KIND, calibration.to_values(), data=data)
    store.write_notes([note], [one.note_id for one in notes if one.note_id is not None])
    return calibration


def refresh_calibration(store: GalleryStore) -> Calibration | None:
    """Calibrate a gallery that has none, or that grew or shrank much since.

    Returns:
        The new calibration; None if the stored one still holds.
    """
    known = read_calibration(store)
    if known is not None:
        kept = len(_read_cohort(store, known))
        if known.describe_staleness(store.count_tracklets(), kept) is None:
            return None
    return calibrate_gallery(store)


def read_calibration(store: GalleryStore) -> Calibration | None:
    """Return the stored calibration of a gallery; None if there is none.

    Raises:
        InputError: it is damaged.
    """
    notes = store.notes(_KIND)
    return _to_calibration(notes[-1], store.address) if notes else None


class StrangerCounter:
    """Counts expected strangers with the stored calibration of a gallery; it follows changes.

    Args:
        store: gallery.
    """

    def __init__(self, store: GalleryStore) -> None:
        self._store = store
        self._state: tuple[int | None, int] | None = None  # note and number of tracklets
        self._calibration: Calibration | None = None
        self._scale: StrangerScale | None = None
        self._kept = 0

    @property
    def calibration(self) -> Calibration | None:
        """The calibration at hand; None if there is none."""
        return self._calibration

    @property
    def is_calibrated(self) -> bool:
        """Whether strangers can be counted."""
        return self._scale is not None

    def refresh(self) -> None:
        """Read the calibration again if it, or the gallery, changed."""
        notes = self._store.notes(_KIND)
        state = notes[-1].note_id if notes else None, self._store.count_tracklets()
        if self._state is not None and state[0] == self._state[0] and state[1] >= self._state[1]:
            self._state = state
            return
        self._calibration = _to_calibration(notes[-1], self._store.address) if notes else None
        self._scale = None
        if self._calibration is not None and self._calibration.tail is not None:
            cohort = _read_cohort(self._store, self._calibration)
            embeddings, cameras = _stack(cohort), [one.camera for one in cohort]
            self._kept = len(cohort)
            self._scale = StrangerScale(self._calibration.tail, Cohort(embeddings, cameras))
        self._state = state

    def describe(self) -> str | None:
        """Say why strangers are not counted, or why the calibration is old; None without."""
        address, known = self._store.address, self._calibration
        if known is None:
            return f"`clsa-search calibrate {address}` has not run"
        if known.tail is None:
            return f"{known.pairs:,} pairs of certain strangers, fewer than {MIN_PAIRS}"
        tracklets = self._state[1] if self._state else 0
        reason = known.describe_staleness(tracklets, self._kept)
        return reason and f"{reason}: run `clsa-search calibrate {address}`"

    def count(
        self,
        query: np.ndarray,
        similarities: np.ndarray,
        cameras: Sequence[str | None],
        searched: float,
    ) -> np.ndarray:
        """Return the expected strangers (K,) of matches; see `compare` for the arguments.

        Raises:
            InputError: the gallery is not calibrated.
        """
        found = self.compare(query, similarities, cameras, searched)
        if found is None:
            raise InputError(f"{self._store.address}: is not calibrated: {self.describe()}")
        return found.expected

    def compare(
        self,
        query: np.ndarray,
        similarities: np.ndarray,
        cameras: Sequence[str | None],
        searched: float,
    ) -> Strangers | None:
        """Compare matches with strangers; None if the gallery is not calibrated.

        See `StrangerScale.compare`.
        """
        if self._scale is None:
            return None
        return self._scale.compare(query, similarities, cameras, searched)


def _fit(store: GalleryStore, apart: tuple[tuple[str, ...], ...]) -> Calibration:
    with store.snapshot():
        tracklets = store.tracklets()
        cameras = [one.camera for one in tracklets]
        rows = sample_cohort(cameras, _SEED)
        cohort = store.get_tracklets([tracklets[row].tracklet_id for row in rows])
        together = _find_together(store, tracklets)
        concurrent = _find_concurrent(tracklets, apart)
        pairs = np.unique(np.concatenate([together, concurrent]), axis=0)
        ids, places = np.unique(pairs, return_inverse=True)
        people = store.get_tracklets(ids) if len(pairs) >= MIN_PAIRS else []
        samples = _sample(store, cohort), _sample(store, people)
    tail, uniform = fit_strangers(*samples, places.reshape(pairs.shape))
    return Calibration(
        tail=tail,
        pairs=len(pairs),
        concurrent=len(concurrent),
        tracklets=len(tracklets),
        cohort=tuple(one.tracklet_id for one in cohort),
        uniform=uniform,
        apart=apart,
        fitted=time.time(),
    )


def _find_together(store: GalleryStore, tracklets: Sequence[Tracklet]) -> np.ndarray:
    """Return pairs of ids of tracklets that were seen in one frame."""
    frames, ids, boxes, scores = [], [], [], []
    for number, (source, moment) in zip(count(), choose_moments(tracklets), strict=False):
        where = Filter(sources=[source], since=moment, until=moment)
        for detection in store.list(where):
            frames.append(number)
            ids.append(detection.detection_id)
            boxes.append(detection.box)
            scores.append(detection.score)
    owners = np.array(store.find_tracklets(ids) if ids else [], np.int64)
    boxes_array = np.array(boxes, float).reshape(-1, 4)
    arrays = np.array(frames, int), owners, boxes_array, np.array(scores, float)
    return pair_people_of_frames(*arrays, limit=_MAX_PAIRS, seed=_SEED)


def choose_moments(tracklets: Sequence[Tracklet], limit: int = _FRAMES) -> list[Moment]:
    """Choose frames that show several tracklets.

    Args:
        tracklets: tracklets of any sources.
        limit: largest number of frames.

    Returns:
        Source and time of each, in the order of the sources' names.
    """
    moments: set[Moment] = set()
    ordered = sorted(tracklets, key=lambda one: (one.source, one.first_frame or 0))
    source, last = None, -1
    for one in ordered:
        frame = one.first_frame or 0
        if one.source != source:
            source, last = one.source, -1
        elif last >= frame and (one.first_frame is None or one.first is not None):
            moments.add((one.source, None if one.first_frame is None else one.first))
        last = max(last, one.last_frame or 0)
    listed = sorted(moments, key=lambda moment: (moment[0], moment[1] or 0.0))
    chosen = np.random.default_rng(_SEED).permutation(len(listed))[:limit]
    return [listed[row] for row in np.sort(chosen)]


def _find_concurrent(
    tracklets: Sequence[Tracklet], apart: tuple[tuple[str, ...], ...]
) -> np.ndarray:
    """Return pairs of ids of tracklets of one time on cameras apart."""
    dated = [one for one in tracklets if one.first is not None and one.first >= CALENDAR_FROM]
    first = np.array([one.first for one in dated], float)
    last = np.array([math.nan if one.last is None else one.last for one in dated], float)
    cameras = [one.camera for one in dated]
    pairs = pair_concurrent(first, last, cameras, apart, limit=_MAX_PAIRS, seed=_SEED)
    return np.array([one.tracklet_id for one in dated], np.int64)[pairs]


def _sample(store: GalleryStore, tracklets: Sequence[Tracklet]) -> TrackletSample:
    """Return tracklets with the embeddings of their best detections."""
    best = store.get([one.best for one in tracklets]) if tracklets else []
    embeddings = _stack(tracklets)
    queries = np.array([one.embedding for one in best], np.float32).reshape(embeddings.shape)
    return TrackletSample(embeddings, queries, [one.camera for one in tracklets])


def _stack(tracklets: Sequence[Tracklet]) -> np.ndarray:
    rows = [one.embedding for one in tracklets]
    return np.array(rows, np.float32).reshape(len(rows), -1 if rows else 0)


def _read_cohort(store: GalleryStore, calibration: Calibration) -> list[Tracklet]:
    """Return the tracklets of the cohort that are still stored."""
    try:
        return store.get_tracklets(calibration.cohort)
    except InputError:  # some were deleted
        present = {one.tracklet_id for one in store.tracklets()}
        return store.get_tracklets([one for one in calibration.cohort if one in present])


def _to_calibration(note: Note, address: str) -> Calibration:
    cohort = np.frombuffer(note.data or b"", "<i8").tolist()
    return Calibration.from_values(note.values, cohort, address)


def _check_cameras(store: GalleryStore, groups: Collection[Collection[str]]) -> None:
    known = store.cameras()
    for group in groups:
        if len(group) < 2:
            raise InputError(f"apart: {', '.join(group)}; expected two or more different cameras")
        for camera in group:
            if camera not in known:
                names = ", ".join(known) or "none: the gallery has no cameras"
                raise InputError(f"apart: there is no camera {camera}; expected of {names}")
