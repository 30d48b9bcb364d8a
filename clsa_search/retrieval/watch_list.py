"""The watch list: named people who are compared with every new sighting.

Shape letters: E examples of a person, U tracklets, D embedding width.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore, Note, Tracklet

MAX_EXAMPLES = 20
"""Most examples of a person: each makes false alarms likelier."""

DEFAULT_FALSE_ALARMS = 1.0
"""Accepted false alarms per day."""

_PERSON, _EXAMPLE, _HIT = "person", "example", "hit"
_DAY = 86400.0
_SAME = 0.99999  # similarity of an embedding with itself, after rounding
_BATCH = 4096  # tracklets to compare at a time

CountStrangers = Callable[[np.ndarray, np.ndarray, Sequence[str | None], float], np.ndarray]
"""Expected strangers of (query (D,), similarities (K,), cameras, number searched), as (K,)."""


@dataclass(frozen=True)
class Person:
    """A person of the watch list.

    Args:
        person_id: number of the entry.
        name: unique name.
        note: text of the user.
        since: time of the entry in seconds.
        until: end of the watch; None for no end.
        after: highest id of the tracklets that were compared.
        examples: (E, D) embeddings of unit length.
    """

    person_id: int
    name: str
    note: str
    since: float
    until: float | None
    after: int
    examples: np.ndarray

    def is_watched(self, now: float) -> bool:
        """Return whether the watch has not ended."""
        return self.until is None or now < self.until


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


def add_person(
    store: GalleryStore,
    name: str,
    examples: np.ndarray,
    *,
    note: str = "",
    until: float | None = None,
    is_past_compared: bool = False,
) -> Person:
    """Add a person, or examples of a known one.

    Args:
        store: gallery.
        name: name of the person.
        examples: (E, D) embeddings of unit length.
        note: text of the user.
        until: end of the watch in seconds.
        is_past_compared: compare the stored sightings too, not only new ones.

    Raises:
        InputError: the name is empty, or there are too many examples.
    """
    if not name.strip():
        raise InputError("person: the name is empty; expected a name")
    known = {person.name: person for person in list_people(store)}.get(name)
    total = len(examples) + (0 if known is None else len(known.examples))
    if not 0 < total <= MAX_EXAMPLES:
        raise InputError(
            f"person {name!r}: {total:,} images; expected 1 to {MAX_EXAMPLES} that differ"
        )
    if known is None or is_past_compared:
        after = 0 if is_past_compared else _find_last(store)
    else:
        after = known.after
    values = {
        "name": name,
        "note": note or (known.note if known else ""),
        "since": known.since if known else time.time(),
        "until": until if until is not None or known is None else known.until,
        "after": after,
    }
    number = None if known is None else known.person_id
    (person_id,) = store.write_notes([Note(_PERSON, values, note_id=number)])
    rows = np.ascontiguousarray(examples, "<f4")
    store.write_notes([Note(_EXAMPLE, {"person": person_id}, data=row.tobytes()) for row in rows])
    return find_person(store, name)


def list_people(store: GalleryStore) -> list[Person]:
    """Return the people of the watch list, oldest entry first."""
    with store.snapshot():
        notes, examples = store.notes(_PERSON), store.notes(_EXAMPLE)
    rows: dict[int, list[np.ndarray]] = {}
    for one in examples:
        embedding = np.frombuffer(one.data or b"", "<f4")
        rows.setdefault(one.values["person"], []).append(embedding)
    people = []
    for one in notes:
        assert one.note_id is not None
        stacked = np.array(rows.get(one.note_id, []), np.float32)
        people.append(Person(person_id=one.note_id, examples=stacked, **one.values))
    return people


def find_person(store: GalleryStore, name: str) -> Person:
    """Return a person by name.

    Raises:
        InputError: there is no such person.
    """
    people = {person.name: person for person in list_people(store)}
    if name not in people:
        known = ", ".join(map(repr, sorted(people)[:10])) or "none: the list is empty"
        raise InputError(f"person {name!r} is not on the watch list; expected {known}")
    return people[name]


def forget_person(store: GalleryStore, name: str) -> None:
    """Delete a person: name, examples, hits and verdicts. Sightings stay.

    Raises:
        InputError: there is no such person.
    """
    number = find_person(store, name).person_id
    notes = [*store.notes(_EXAMPLE), *store.notes(_HIT)]
    mine = [one.note_id for one in notes if one.values["person"] == number]
    store.write_notes([], delete=[number, *filter(None, mine)])
    store.scrub()


def forget_examples(store: GalleryStore, embeddings: np.ndarray) -> int:
    """Delete the examples that were taken from some detections or tracklets.

    Args:
        store: gallery.
        embeddings: (N, D) embeddings of these, of unit length.

    Returns:
        Number of deleted examples.
    """
    notes = store.notes(_EXAMPLE)
    if not notes or not len(embeddings):
        return 0
    rows = np.array([np.frombuffer(one.data or b"", "<f4") for one in notes])
    is_taken = (rows @ embeddings.T).max(axis=1) > _SAME
    taken = [one.note_id for one, is_one in zip(notes, is_taken, strict=True) if is_one]
    if taken:
        store.write_notes([], delete=[one for one in taken if one is not None])
    return len(taken)


def compare_people(
    store: GalleryStore,
    count_strangers: CountStrangers,
    *,
    false_alarms_per_day: float = DEFAULT_FALSE_ALARMS,
    now: float | None = None,
) -> list[Hit]:
    """Compare watched people with the sightings since the last call; store and return the hits.

    A sighting is a hit of a person once. Hits stay pending until :func:`mark_reported`.

    Args:
        store: gallery.
        count_strangers: calibration of the gallery.
        false_alarms_per_day: accepted number for the whole list.
        now: present time in seconds.
    """
    now = time.time() if now is None else now
    people = [one for one in list_people(store) if one.is_watched(now) and len(one.examples)]
    if not people:
        return []
    last = _find_last(store)
    tracklets = store.tracklets()
    examples = sum(len(person.examples) for person in people)
    per_day = count_per_day(tracklets) * examples
    chains = {one.tracklet_id: one.chain for one in tracklets}
    known = {(one.values["person"], chains.get(one.detection or 0)) for one in store.notes(_HIT)}
    hits = []
    for person in people:
        new = [one.tracklet_id for one in tracklets if one.tracklet_id > person.after]
        new = [one for one in new if (person.person_id, chains[one]) not in known]
        found = _compare(store, person, new, count_strangers, per_day, false_alarms_per_day)
        found = _choose_best(found, chains)
        notes = [_to_note(person, hit, now) for hit in found]
        state = Note(_PERSON, _to_values(person, last), note_id=person.person_id)
        store.write_notes([*notes, state])  # hits and progress together: none is lost or doubled
        hits += found
    return hits


def list_pending(store: GalleryStore) -> list[Hit]:
    """Return the hits that were not reported, oldest first, of interrupted processes too."""
    names = {person.person_id: person.name for person in list_people(store)}
    notes = [one for one in store.notes(_HIT) if one.values.get("reported") is False]
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
    for note in store.notes(_HIT):
        if note.note_id == hit.note_id:
            values = {**note.values, "reported": True}
            store.write_notes([replace(note, values=values)])


def judge_sighting(store: GalleryStore, name: str, sighting: int, said: str | None) -> None:
    """Store what the user says of a person's sighting.

    Args:
        store: gallery.
        name: name of the person.
        sighting: id of the tracklet.
        said: "same", "other", or None to take a word back.

    Raises:
        InputError: the person or the sighting is unknown, or the word is another one.
    """
    if said not in ("same", "other", None):
        raise InputError(f"said: {said!r}; expected 'same' or 'other'")
    number = find_person(store, name).person_id
    store.get_tracklets([sighting], embeddings=False)
    known = [one for one in store.notes(_HIT, sighting) if one.values["person"] == number]
    values: dict[str, Any] = {"person": number, "at": time.time()}
    number_of_note = known[0].note_id if known else None
    values |= dict(known[0].values) if known else {}
    note = Note(_HIT, values | {"said": said}, detection=sighting, note_id=number_of_note)
    store.write_notes([note])


def list_sightings_of(store: GalleryStore, name: str) -> list[int]:
    """Return the ids of a person's sightings: hits that the user did not call somebody else.

    Raises:
        InputError: there is no such person.
    """
    number = find_person(store, name).person_id
    detections = [
        one.detection
        for one in store.notes(_HIT)
        if one.values["person"] == number and one.values.get("said") != "other"
    ]
    found = store.find_tracklets([one for one in detections if one is not None])
    return sorted(set(found))


def count_per_day(tracklets: Sequence[Tracklet]) -> float:
    """Return the number of sightings per day; without times, all count as one day.

    Tracklets that continue each other in the clips of a camera are one sighting.
    """
    times = [one.first for one in tracklets if one.first is not None]
    days = max(1.0, (max(times) - min(times)) / _DAY) if times else 1.0
    return len({one.chain for one in tracklets}) / days


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
    return Note(_HIT, values, detection=hit.sighting)


def _to_values(person: Person, after: int) -> dict[str, Any]:
    names = "name", "note", "since", "until"
    return {name: getattr(person, name) for name in names} | {"after": max(person.after, after)}


def _find_last(store: GalleryStore) -> int:
    """Return the highest id of the tracklets; 0 without any."""
    count = store.count_tracklets()
    last = store.tracklets(limit=1, offset=count - 1) if count else []
    return last[0].tracklet_id if last else 0


def load_stranger_count(store: GalleryStore) -> CountStrangers | None:
    """Return the calibration of a gallery; None if it is not calibrated."""
    return None
