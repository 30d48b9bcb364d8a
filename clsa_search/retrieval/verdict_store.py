"""The user's verdicts on matches of searches, stored in the gallery.

A verdict is a note on a sighting, by its first detection, and is deleted with it. It holds the
standardized similarity of the match, the size of the gallery, the word, its time and the name of
the query: no embedding and no image, neither of the query nor of the sighting.

The name of a query is random. The page makes a new one for each new person, `clsa-search query` for
each search. It joins the verdicts of one query, with all filters and views: a later one on the same
sighting replaces the earlier one. It must not be made from an image or an embedding: a random name
tells nobody the person searched, or a second search for the same person.
"""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore, Note
from clsa_search.sightings.stranger_tail import StrangerTail
from clsa_search.sightings.user_verdicts import (
    ProbabilityCurve,
    VerdictCounts,
    fit_probability,
    score_matches,
)
from clsa_search.wording import count_noun, show_value

VERDICT_KIND = "verdict"
MAX_Z = 1e9
QUERY_NAME = r"[A-Za-z0-9_-]{8,64}"
"""Form of the name of a query."""

Said = Literal["same", "other"]


@dataclass(frozen=True)
class UserVerdict:
    """What the user says of a match.

    Args:
        sighting: id of the tracklet, or of a detection of it.
        said: "same", "other", or None to take the word back.
        z: standardized similarity in the answer of the search; None: it was not calibrated. Such
            a verdict is stored and counts for no probability.
    """

    sighting: int
    said: Said | None
    z: float | None = None


@dataclass(frozen=True)
class StoredVerdict:
    """A verdict of the gallery.

    Args:
        query: name of the query.
        at: POSIX time of the verdict.
        verdict: the verdict; its sighting is the id of a detection.
        sightings: number of sightings in the gallery then.
        note_id: number of the note.
    """

    query: str
    at: float
    verdict: UserVerdict
    sightings: int
    note_id: int


def say_verdicts(store: GalleryStore, query: str, verdicts: Sequence[UserVerdict]) -> None:
    """Store the user's verdicts on the matches of a query, or take them back; all or nothing.

    Args:
        store: gallery.
        query: name of the query, see this module.
        verdicts: verdicts on different sightings; they replace earlier ones of this query.

    Raises:
        InputError: the query has no such name, a verdict is malformed, or there is no such
            sighting.
    """
    if not isinstance(query, str) or not re.fullmatch(QUERY_NAME, query):
        raise InputError(
            f"query: {show_value(query)}; expected 8 to 64 letters, digits, - and _, made up for "
            "this search"
        )
    for one in verdicts:
        _check(one)
    sightings = store.find_tracklets([one.sighting for one in verdicts])
    known = [one for one in read_verdicts(store)[0] if one.query == query]
    replaced = set(store.list_members(sorted(set(sightings)))) if known else set()
    shared = {"query": query, "at": time.time(), "sightings": store.count_tracklets()}
    latest = dict(zip(sightings, verdicts, strict=True))
    store.write_notes(
        [
            Note(VERDICT_KIND, {**shared, "said": one.said, "z": one.z}, detection=number)
            for number, one in latest.items()
            if one.said
        ],
        delete=[one.note_id for one in known if one.verdict.sighting in replaced],
    )


def list_verdicts(store: GalleryStore) -> list[StoredVerdict]:
    """Return the stored verdicts, oldest first; of a query on a sighting, the last one.

    Damaged ones are left out.
    """
    return _keep_latest(read_verdicts(store)[0])


def list_said(store: GalleryStore, query: str) -> dict[int, Said]:
    """Return the words on the sightings of a query, by the id of the tracklet."""
    with store.snapshot():
        found = [one.verdict for one in list_verdicts(store) if one.query == query]
        sightings = store.find_tracklets([one.sighting for one in found]) if found else []
    return {number: one.said for number, one in zip(sightings, found, strict=True) if one.said}


def count_verdicts(verdicts: Iterable[StoredVerdict]) -> VerdictCounts:
    """Count the verdicts with a score, of each kind."""
    said = [one.verdict.said for one in verdicts if one.verdict.z is not None]
    return VerdictCounts(said.count("same"), said.count("other"))


def forget_verdicts(store: GalleryStore) -> tuple[int, str | None]:
    """Delete all verdicts, damaged ones too.

    Returns:
        Their number, and the reason why their bytes may still be on the disk; None without one.
    """
    whole, damaged = store.read_notes(VERDICT_KIND)
    ids = [*damaged, *(one.note_id for one in whole if one.note_id is not None)]
    store.write_notes([], delete=ids)
    return len(ids), store.scrub() if ids else None


@dataclass(frozen=True)
class LoadedProbability:
    """The stored verdicts of a gallery, ready for searches.

    Args:
        state: state of the notes, see `TrackletStore.note_state`.
        counts: numbers of verdicts with a score.
        unscored: number of verdicts without one, of searches without a calibration.
        tail: share of strangers for the scores of the curve.
        curve: chance by score; None with too few verdicts, or without a calibration.
        fault: sentence on damaged verdicts; None without such.
    """

    state: tuple[int, int]
    counts: VerdictCounts
    unscored: int = 0
    tail: StrangerTail | None = None
    curve: ProbabilityCurve | None = None
    fault: str | None = None

    def find_chances(self, z: np.ndarray, sightings: int) -> list[float | None]:
        """Return the chance of each match to be the same person; None without a curve.

        Args:
            z: (K,) standardized similarities.
            sightings: number of sightings in the gallery.
        """
        if self.curve is None or self.tail is None:
            return [None] * len(z)
        return self.curve.find_chances(score_matches(z, self.tail, sightings)).tolist()


class VerdictReader:
    """The stored verdicts of a gallery; follows their changes. Threads may share it.

    Args:
        store: gallery.
    """

    def __init__(self, store: GalleryStore) -> None:
        self._store = store
        self._loaded: LoadedProbability | None = None

    def load(self, tail: StrangerTail | None = None) -> LoadedProbability:
        """Return the verdicts; they are read and fitted again if they, or the tail, changed.

        Args:
            tail: share of strangers by standardized similarity; None: no curve is needed.
        """
        state, known = self._store.note_state(VERDICT_KIND), self._loaded
        if known is not None and known.state == state and tail in (None, known.tail):
            return known
        self._loaded = loaded = _load(self._store, state, tail)
        return loaded


def _load(
    store: GalleryStore, state: tuple[int, int], tail: StrangerTail | None
) -> LoadedProbability:
    if not state[0]:
        return LoadedProbability(state, VerdictCounts(), tail=tail)
    stored, damaged = read_verdicts(store)
    verdicts = _keep_latest(stored)
    counts = count_verdicts(verdicts)
    curve = None
    scored = [one for one in verdicts if one.verdict.z is not None]
    if tail is not None and scored:
        z = np.array([one.verdict.z for one in scored], float)
        sightings = np.array([one.sightings for one in scored], float)
        same = np.array([one.verdict.said == "same" for one in scored])
        curve = fit_probability(score_matches(z, tail, sightings), same)
    fault = _describe_damage(store.address, len(damaged)) if damaged else None
    return LoadedProbability(state, counts, len(verdicts) - counts.total, tail, curve, fault)


def _describe_damage(address: str, count: int) -> str:
    are = count_noun(count, "verdict is", "verdicts are")
    return (
        f"{address}: {are} damaged and left out: `clsa-search repair {address}` deletes "
        f"{'it' if count == 1 else 'them'} and keeps the others"
    )


def _check(verdict: UserVerdict) -> None:
    if verdict.said not in ("same", "other", None):
        raise InputError(f"said: {show_value(verdict.said)}; expected 'same', 'other' or None")
    if verdict.z is not None and not abs(verdict.z) < MAX_Z:  # false for NaN
        raise InputError(f"z: {verdict.z}; expected the number of the search's answer")


def read_verdicts(store: GalleryStore) -> tuple[list[StoredVerdict], list[int]]:
    """Return the stored verdicts in the order of their notes, and the ids of damaged notes."""
    whole, damaged = store.read_notes(VERDICT_KIND)
    found = []
    for note in whole:
        try:
            found.append(_to_verdict(note))
        except Exception:  # a damaged value can have any type
            damaged.append(note.note_id or 0)
    return found, sorted(damaged)


def _to_verdict(note: Note) -> StoredVerdict:
    """Return the verdict of a note.

    Raises:
        InputError, KeyError, TypeError, ValueError: it is damaged.
    """
    values = note.values
    verdict = UserVerdict(note.detection or 0, values["said"], values["z"])
    _check(verdict)
    at, sightings, query = float(values["at"]), int(values["sightings"]), values["query"]
    if not (note.detection and verdict.said and isinstance(query, str) and sightings >= 0):
        raise ValueError("no verdict")
    return StoredVerdict(query, at, verdict, sightings, note.note_id or 0)


def _keep_latest(verdicts: Sequence[StoredVerdict]) -> list[StoredVerdict]:
    """Return the last verdict of each query on each sighting, oldest first."""
    latest = {(one.query, one.verdict.sighting): one for one in verdicts}
    return sorted(latest.values(), key=lambda one: one.note_id)
