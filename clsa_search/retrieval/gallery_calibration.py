"""Calibration of a gallery: certain strangers are read, fitted and stored."""

import math
import time
from collections.abc import Callable, Collection, Sequence
from itertools import count

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, Note, Tracklet
from clsa_search.retrieval.stored_calibration import (
    CALIBRATION_KIND,
    find_calibration,
    read_cohort,
    stack_embeddings,
)
from clsa_search.retrieval.time_format import CALENDAR_FROM
from clsa_search.sightings.calibration import (
    MIN_PAIRS,
    Calibration,
    TrackletSample,
    fit_strangers,
)
from clsa_search.sightings.cohort import sample_cohort
from clsa_search.sightings.impostors import pair_concurrent, pair_people_of_frames

_FRAMES = 3000  # to read
_MAX_PAIRS = 30_000
_SEED = 0

Moment = tuple[str, float | None]  # source and time of a frame; None: an image


def calibrate_gallery(
    store: GalleryStore,
    apart: Collection[Collection[str]] | None = None,
    *,
    check: Callable[[], None] = lambda: None,
    warn: Callable[[str], None] = lambda reason: None,
) -> Calibration:
    """Calibrate a gallery and store the result in place of the calibration before.

    Args:
        store: gallery.
        apart: groups of cameras that never see one person at the same time; by default those of
            the calibration before.
        check: called between the steps; its exception ends the work, and nothing is stored.
        warn: called with the losses if the calibration before was damaged.

    Raises:
        InputError: a camera is not in the gallery.
    """
    before, fault = find_calibration(store)
    if fault is not None and apart is None:
        warn(
            f"{store.address}: its calibration was damaged and is made anew; cameras that "
            f"--apart named are forgotten, `clsa-search calibrate {store.address} --apart` "
            "names them again"
        )
    known = before.apart if before else ()
    groups = tuple(tuple(sorted(set(group))) for group in (known if apart is None else apart))
    if apart is not None:
        _check_cameras(store, groups)
    calibration = _fit(store, groups, check)
    data = np.array(calibration.cohort, "<i8").tobytes()
    note = Note(CALIBRATION_KIND, calibration.to_values(), data=data)
    stored, damaged = store.read_notes(CALIBRATION_KIND)
    store.write_notes([note], [*damaged, *(one.note_id or 0 for one in stored)])
    return calibration


def refresh_calibration(
    store: GalleryStore,
    *,
    check: Callable[[], None] = lambda: None,
    warn: Callable[[str], None] = lambda reason: None,
) -> Calibration | None:
    """Calibrate a gallery without a whole calibration, or if it grew or shrank much since.

    Args:
        store: gallery.
        check: see `calibrate_gallery`.
        warn: see `calibrate_gallery`.

    Returns:
        The new calibration; None if the stored one still holds.
    """
    known, _ = find_calibration(store)
    if known is not None:
        kept = len(read_cohort(store, known))
        if known.describe_staleness(store.count_tracklets(), kept) is None:
            return None
    return calibrate_gallery(store, check=check, warn=warn)


def _fit(
    store: GalleryStore, apart: tuple[tuple[str, ...], ...], check: Callable[[], None]
) -> Calibration:
    with store.snapshot():
        check()
        tracklets = store.tracklets()
        cameras = [one.camera for one in tracklets]
        rows = sample_cohort(cameras, _SEED)
        cohort = store.get_tracklets([tracklets[row].tracklet_id for row in rows])
        together = _find_together(store, tracklets, check)
        concurrent = _find_concurrent(tracklets, apart)
        pairs = np.unique(np.concatenate([together, concurrent]), axis=0)
        ids, places = np.unique(pairs, return_inverse=True)
        people = store.get_tracklets(ids) if len(pairs) >= MIN_PAIRS else []
        check()
        samples = _sample(store, cohort), _sample(store, people)
    check()
    tail, uniform = fit_strangers(*samples, places.reshape(pairs.shape))
    check()
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


def _find_together(
    store: GalleryStore, tracklets: Sequence[Tracklet], check: Callable[[], None]
) -> np.ndarray:
    """Return pairs of ids of tracklets that were seen in one frame."""
    frames, ids, boxes, scores = [], [], [], []
    for number, (source, moment) in zip(count(), choose_moments(tracklets), strict=False):
        check()
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
    embeddings = stack_embeddings(tracklets)
    queries = np.array([one.embedding for one in best], np.float32).reshape(embeddings.shape)
    return TrackletSample(embeddings, queries, [one.camera for one in tracklets])


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
