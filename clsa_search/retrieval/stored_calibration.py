"""The stored calibration of a gallery: a note, read for searches.

A damaged calibration is named, and searches go on without it.

Shape letters: K matches, U tracklets, D embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore, Note, Tracklet
from clsa_search.sightings.calibration import (
    MIN_PAIRS,
    Calibration,
    StrangerScale,
    describe_damage,
)
from clsa_search.sightings.cohort import Cohort
from clsa_search.wording import count_noun

CALIBRATION_KIND = "calibration"


def read_calibration(store: GalleryStore) -> Calibration | None:
    """Return the stored calibration of a gallery; None if there is none.

    Raises:
        InputError: it is damaged.
    """
    known, fault = find_calibration(store)
    if fault is not None:
        raise InputError(fault)
    return known


def find_calibration(store: GalleryStore) -> tuple[Calibration | None, str | None]:
    """Return the stored calibration, None without a whole one, and its fault if it is damaged."""
    notes, damaged = store.read_notes(CALIBRATION_KIND)
    last = notes[-1].note_id or 0 if notes else 0
    if max(damaged, default=0) > last:
        return None, describe_damage(store.address)
    try:
        return (to_calibration(notes[-1], store.address) if notes else None), None
    except InputError as error:
        return None, str(error)


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
        fault: why the stored calibration cannot be read; None without.
    """

    address: str
    state: tuple[int, int]
    tracklets: int
    kept: int = 0
    calibration: Calibration | None = None
    scale: StrangerScale | None = None
    fault: str | None = None

    def describe(self) -> str | None:
        """Say why strangers are not counted, or why the calibration is old; None without."""
        known = self.calibration
        if known is None:
            return self.fault or f"`clsa-search calibrate {self.address}` has not run"
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
        state, tracklets = store.note_state(CALIBRATION_KIND), store.count_tracklets()
        if known is not None and state == known.state and tracklets >= known.tracklets:
            loaded = replace(known, tracklets=tracklets)
        else:
            calibration, fault = find_calibration(store)
            loaded = LoadedCalibration(store.address, state, tracklets, fault=fault)
            if calibration is not None:
                loaded = _load(store, loaded, calibration)
        self._loaded = loaded
        return loaded


def _load(
    store: GalleryStore, empty: LoadedCalibration, calibration: Calibration
) -> LoadedCalibration:
    if calibration.tail is None:
        return replace(empty, calibration=calibration)
    cohort = read_cohort(store, calibration)
    scale = StrangerScale(
        calibration.tail, Cohort(stack_embeddings(cohort), [one.camera for one in cohort])
    )
    return replace(empty, kept=len(cohort), calibration=calibration, scale=scale)


def read_cohort(store: GalleryStore, calibration: Calibration) -> list[Tracklet]:
    """Return the tracklets of the cohort that are still stored."""
    try:
        return store.get_tracklets(calibration.cohort)
    except InputError:  # some were deleted
        present = {one.tracklet_id for one in store.tracklets()}
        return store.get_tracklets([one for one in calibration.cohort if one in present])


def stack_embeddings(tracklets: Sequence[Tracklet]) -> np.ndarray:
    """Return the embeddings (U, D) of tracklets."""
    rows = [one.embedding for one in tracklets]
    return np.array(rows, np.float32).reshape(len(rows), -1 if rows else 0)


def to_calibration(note: Note, address: str) -> Calibration:
    """Return the calibration of a note.

    Raises:
        InputError: it is damaged.
    """
    return Calibration.from_values(note.values, note.data or b"", address)
