"""Hits of the watch list: new sightings that look like a watched person.

Shape letters: E examples of a person, U tracklets.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clsa_search.gallery import GalleryStore, Note, Tracklet
from clsa_search.retrieval.time_format import CALENDAR_FROM
from clsa_search.retrieval.watch_list import (
    HIT_KIND,
    PERSON_KIND,
    CountStrangers,
    Person,
    find_last,
    list_people,
    to_values,
)

DEFAULT_FALSE_ALARMS = 1.0
"""Accepted false alarms per day."""

_DAY = 86400.0
WHOLE_DAY, WATCHED_HOUR = 1.0, 1 / 24
"""Fewest days that a gallery counts as: one that was indexed at once, and one that grows."""

_BATCH = 4096  # tracklets to compare at a time


@dataclass(frozen=True)
class Hit:
    """A sighting that is as alike as few strangers are.

    Args:
        person: name of the person.
        sighting: id of the tracklet.
        source: path of its file.
        camera: name of the camera; None if unknown.
        first: first time in seconds; None if unknown.
        last: last time.
        similarity: highest similarity with an example.
        false_alarms_per_day: expected number of strangers per day this alike.
        note_id: number of its note in the gallery; None if it was not read from there.
    """

    person: str
    sighting: int
    source: str
    camera: str | None
    first: float | None
    last: float | None
    similarity: float
    false_alarms_per_day: float
    note_id: int | None = None


def compare_people(
    store: GalleryStore,
    count_strangers: CountStrangers,
    *,
    false_alarms_per_day: float = DEFAULT_FALSE_ALARMS,
    least_days: float = WHOLE_DAY,
    now: float | None = None,
) -> list[Hit]:
    """Compare watched people with the sightings since the last call; store and return the hits.

    A sighting is a hit of a person once. Hits stay pending until :func:`mark_reported`.

    Args:
        store: gallery.
        count_strangers: calibration of the gallery.
        false_alarms_per_day: accepted number for the whole list.
        least_days: see `count_per_day`.
        now: present time in seconds.
    """
    now = time.time() if now is None else now
    people = [one for one in list_people(store) if one.is_watched(now) and len(one.examples)]
    if not people:
        return []
    last = find_last(store)
    tracklets = store.tracklets()
    examples = sum(len(person.examples) for person in people)
    per_day = count_per_day(tracklets, least_days) * examples
    chains = {one.tracklet_id: one.chain for one in tracklets}
    notes = [one for one in store.notes(HIT_KIND) if one.detection is not None]
    found_in = store.find_tracklets([one.detection or 0 for one in notes])  # linked again since
    pairs = zip(notes, found_in, strict=True)
    known = {(note.values["person"], chains.get(tracklet)) for note, tracklet in pairs}
    hits = []
    for person in people:
        new = [one.tracklet_id for one in tracklets if one.tracklet_id > person.after]
        new = [one for one in new if (person.person_id, chains[one]) not in known]
        found = _compare(store, person, new, count_strangers, per_day, false_alarms_per_day)
        found = _choose_best(found, chains)
        new_notes = [_to_note(person, hit, now) for hit in found]
        state = Note(PERSON_KIND, to_values(person, last), note_id=person.person_id)
        store.write_notes(
            [*new_notes, state]
        )  # hits and progress together: none is lost or doubled
        hits += found
    return hits


def list_pending(store: GalleryStore) -> list[Hit]:
    """Return the hits that were not reported, oldest first, of interrupted processes too."""
    notes = [one for one in store.notes(HIT_KIND) if one.values.get("reported") is False]
    names = {person.person_id: person.name for person in list_people(store)}
    notes = [one for one in notes if one.values["person"] in names]  # others were just removed
    ids = store.find_tracklets([one.detection for one in notes if one.detection is not None])
    hits = []
    for note, tracklet in zip(notes, store.get_tracklets(ids, embeddings=False), strict=True):
        place = tracklet.source, tracklet.camera, tracklet.first, tracklet.last
        values = note.values["similarity"], note.values["false_alarms_per_day"]
        hits.append(
            Hit(names[note.values["person"]], tracklet.tracklet_id, *place, *values, note.note_id)
        )
    return hits


def mark_reported(store: GalleryStore, hit: Hit) -> None:
    """Note that a hit of :func:`list_pending` was reported."""
    for note in store.notes(HIT_KIND):
        if note.note_id == hit.note_id:
            values = {**note.values, "reported": True}
            store.write_notes([replace(note, values=values)])


def count_per_day(tracklets: Sequence[Tracklet], least_days: float = WHOLE_DAY) -> float:
    """Return the number of sightings per day.

    Tracklets that continue each other in the clips of a camera are one sighting. Sightings without
    a date count as if they were of one day.

    Args:
        tracklets: all of a gallery.
        least_days: fewest days that the dated ones count as. While footage comes in, its first
            hours tell what a day will bring.
    """
    dated = [one for one in tracklets if one.first is not None and one.first >= CALENDAR_FROM]
    times = [one.first for one in dated if one.first is not None]
    undated = len({one.chain for one in tracklets} - {one.chain for one in dated})
    if not times:
        return float(undated)
    days = max(least_days, (max(times) - min(times)) / _DAY)
    return len({one.chain for one in dated}) / days + undated


def tell_least_alarms(
    store: GalleryStore,
    lowest: float,
    least_days: float = WHOLE_DAY,
    now: float | None = None,
) -> float:
    """Return the fewest false alarms per day for a calibration to promise.

    Args:
        store: gallery with the watch list.
        lowest: lowest share of strangers in the calibration.
        least_days: see `count_per_day`.
        now: present time in seconds.
    """
    now = time.time() if now is None else now
    examples = sum(len(one.examples) for one in list_people(store) if one.is_watched(now))
    return lowest * examples * count_per_day(store.tracklets(), least_days) if examples else 0.0


def _compare(
    store: GalleryStore,
    person: Person,
    tracklets: Sequence[int],
    count_strangers: CountStrangers,
    per_day: float,
    accepted: float,
) -> list[Hit]:
    hits = []
    for start in range(0, len(tracklets), _BATCH):
        batch = store.get_tracklets(tracklets[start : start + _BATCH])
        similarities = person.examples @ np.array([one.embedding for one in batch]).T  # (E, U)
        cameras = [one.camera for one in batch]
        expected = np.min(
            [
                count_strangers(example, row, cameras, per_day)
                for example, row in zip(person.examples, similarities, strict=True)
            ],
            axis=0,
        )
        for i in np.flatnonzero(expected <= accepted).tolist():
            one, similarity = batch[i], float(similarities[:, i].max())
            place = one.tracklet_id, one.source, one.camera, one.first, one.last
            hits.append(Hit(person.name, *place, similarity, float(expected[i])))
    return hits


def _choose_best(hits: Sequence[Hit], chains: Mapping[int, int]) -> list[Hit]:
    """Return the most similar hit of each chain, in the order of sightings."""
    best: dict[int, Hit] = {}
    for hit in hits:
        chain = chains[hit.sighting]
        if chain not in best or hit.similarity > best[chain].similarity:
            best[chain] = hit
    return sorted(best.values(), key=lambda hit: hit.sighting)


def _to_note(person: Person, hit: Hit, now: float) -> Note:
    values = {
        "person": person.person_id,
        "similarity": hit.similarity,
        "false_alarms_per_day": hit.false_alarms_per_day,
        "at": now,
        "said": None,
        "reported": False,
    }
    return Note(HIT_KIND, values, detection=hit.sighting)
