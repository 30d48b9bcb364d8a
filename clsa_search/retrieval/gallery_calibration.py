"""Calibration of a gallery: certain strangers are read, fitted and stored; searches use it.

Shape letters: K matches, D embedding width.
"""

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, Note, Tracklet
from clsa_search.retrieval.time_format import CALENDAR_FROM
from clsa_search.sightings.calibration import (
    MIN_PAIRS,
    Calibration,
    StrangerScale,
    TrackletSample,
    fit_strangers,
)
from clsa_search.sightings.cohort import Cohort, sample_cohort
from clsa_search.sightings.impostors import pair_concurrent, pair_people_of_frames
from clsa_search.wording import count_noun

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


@dataclass(frozen=True)
class LoadedCalibration:
    """The stored calibration of a gallery, ready for searches.

    Args:
        address: address of the gallery.
        state: state of the notes, see `TrackletStore.note_state`.
        tracklets: present number of tracklets in the gallery.
        kept: number of tracklets of the cohort that are still stored.
        calibration: the calibration; None if there is none.
        scale: the scale of similarities; None if it is not calibrated.
    """

    address: str
    state: tuple[int, int]
    tracklets: int
    kept: int = 0
    calibration: Calibration | None = None
    scale: StrangerScale | None = None

    def describe(self) -> str | None:
        """Say why strangers are not counted, or why the calibration is old; None without."""
        known = self.calibration
        if known is None:
            return f"`clsa-search calibrate {self.address}` has not run"
        if known.tail is None:
            pairs = count_noun(known.pairs, "pair")
            reason = f"{pairs} of certain strangers, fewer than {MIN_PAIRS}"
            grown = known.describe_staleness(self.tracklets, len(known.cohort))
            return reason + (f"; {grown}" if grown else "")
        reason_or_none = known.describe_staleness(self.tracklets, self.kept)
        return reason_or_none and f"{reason_or_none}: run `clsa-search calibrate {self.address}`"

    def count(
        self,
        query: np.ndarray,
        similarities: np.ndarray,
        cameras: Sequence[str | None],
        searched: float,
    ) -> np.ndarray:
        """Return the expected strangers (K,) of matches; see `StrangerScale.compare`.

        Raises:
            InputError: the gallery is not calibrated.
        """
        if self.scale is None:
            raise InputError(f"{self.address}: is not calibrated: {self.describe()}")
        return self.scale.compare(query, similarities, cameras, searched).expected


class StrangerCounter:
    """The stored calibration of a gallery; follows its changes. Threads may share it.

    Args:
        store: gallery.
    """

    def __init__(self, store: GalleryStore) -> None:
        self._store = store
        self._loaded: LoadedCalibration | None = None

    def load(self) -> LoadedCalibration:
        """Return the calibration; it is read again if it, or the gallery, changed."""
        store, known = self._store, self._loaded
        state, tracklets = store.note_state(_KIND), store.count_tracklets()
        if known is not None and state == known.state and tracklets >= known.tracklets:
            loaded = replace(known, tracklets=tracklets)
        else:
            loaded = LoadedCalibration(store.address, state, tracklets)
            if notes := store.notes(_KIND):
                loaded = _load(store, loaded, _to_calibration(notes[-1], store.address))
        self._loaded = loaded
        return loaded


def _load(
    store: GalleryStore, empty: LoadedCalibration, calibration: Calibration
) -> LoadedCalibration:
    if calibration.tail is None:
        return replace(empty, calibration=calibration)
    cohort = _read_cohort(store, calibration)
    scale = StrangerScale(calibration.tail, Cohort(_stack(cohort), [one.camera for one in cohort]))
    return replace(empty, kept=len(cohort), calibration=calibration, scale=scale)


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
            if detection.origin == "hand":  # it may show a part of somebody who has a box
                continue
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
            raise InputError(
                f"apart: {', '.join(group) or 'no camera'}; expected two or more different cameras"
            )
        for camera in group:
            if camera not in known:
                names = ", ".join(known) or "none: the gallery has no cameras"
                raise InputError(f"apart: there is no camera {camera}; expected of {names}")
