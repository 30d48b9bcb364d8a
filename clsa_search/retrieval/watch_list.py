"""The watch list: named people who are compared with every new sighting.

Shape letters: E examples of a person, U tracklets, D embedding width.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore, Note
from clsa_search.retrieval.stored_calibration import StrangerCounter
from clsa_search.retrieval.time_format import format_time
from clsa_search.wording import show_value

MAX_EXAMPLES = 20
"""Most examples of a person: each makes false alarms likelier."""

MAX_NAME = 200
"""Most characters of a name."""

PERSON_KIND, HIT_KIND, EXAMPLE_KIND = "person", "hit", "example"
_SAME = 0.99999  # similarity of an embedding with itself, after rounding
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
        InputError: the name is empty, too long or not printable, or there are too many examples.
    """
    if not name.strip():
        raise InputError("person: the name is empty; expected a name")
    if len(name) > MAX_NAME or not name.isprintable():
        raise InputError(
            f"person: {show_value(name)}; expected a name of one line and at most {MAX_NAME} "
            "characters"
        )
    known = {person.name: person for person in list_people(store)}.get(name)
    total = len(examples) + (0 if known is None else len(known.examples))
    if not 0 < total <= MAX_EXAMPLES:
        raise InputError(
            f"person {name!r}: {total:,} images; expected 1 to {MAX_EXAMPLES} that differ"
        )
    if known is None or is_past_compared:
        after = 0 if is_past_compared else find_last(store)
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
    (person_id,) = store.write_notes([Note(PERSON_KIND, values, note_id=number)])
    rows = np.ascontiguousarray(examples, "<f4")
    store.write_notes(
        [Note(EXAMPLE_KIND, {"person": person_id}, data=row.tobytes()) for row in rows]
    )
    return find_person(store, name)


def check_until(until: float | None, now: float | None = None) -> None:
    """Check that a watch does not end before it begins.

    Args:
        until: end of the watch in seconds; None for no end.
        now: present time in seconds.

    Raises:
        InputError: the end has passed.
    """
    if until is not None and until <= (time.time() if now is None else now):
        raise InputError(
            f"until: {format_time(until)} has passed; expected a later time, as 2036-06-30"
        )


def list_people(store: GalleryStore) -> list[Person]:
    """Return the people of the watch list, oldest entry first."""
    with store.snapshot():
        notes, examples = store.notes(PERSON_KIND), store.notes(EXAMPLE_KIND)
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


def forget_person(store: GalleryStore, name: str) -> str | None:
    """Delete a person: name, examples, hits and verdicts. Sightings stay.

    Returns:
        The reason why their bytes may still be on the disk; None if they are gone.

    Raises:
        InputError: there is no such person.
    """
    number = find_person(store, name).person_id
    notes = [*store.notes(EXAMPLE_KIND), *store.notes(HIT_KIND)]
    mine = [one.note_id for one in notes if one.values["person"] == number]
    store.write_notes([], delete=[number, *filter(None, mine)])
    return store.scrub()


def forget_examples(store: GalleryStore, embeddings: np.ndarray) -> int:
    """Delete the examples that were taken from some detections or tracklets.

    Args:
        store: gallery.
        embeddings: (N, D) embeddings of these, of unit length.

    Returns:
        Number of deleted examples.
    """
    notes = store.notes(EXAMPLE_KIND)
    if not notes or not len(embeddings):
        return 0
    rows = np.array([np.frombuffer(one.data or b"", "<f4") for one in notes])
    is_taken = (rows @ embeddings.T).max(axis=1) > _SAME
    taken = [one.note_id for one, is_one in zip(notes, is_taken, strict=True) if is_one]
    if taken:
        store.write_notes([], delete=[one for one in taken if one is not None])
    return len(taken)


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
    known = [one for one in store.notes(HIT_KIND, sighting) if one.values["person"] == number]
    values: dict[str, Any] = {"person": number, "at": time.time()}
    number_of_note = known[0].note_id if known else None
    values |= dict(known[0].values) if known else {}
    note = Note(HIT_KIND, values | {"said": said}, detection=sighting, note_id=number_of_note)
    store.write_notes([note])


def list_sightings_of(store: GalleryStore, name: str) -> list[int]:
    """Return the ids of a person's sightings: hits that the user did not call somebody else.

    Raises:
        InputError: there is no such person.
    """
    number = find_person(store, name).person_id
    detections = [
        one.detection
        for one in store.notes(HIT_KIND)
        if one.values["person"] == number and one.values.get("said") != "other"
    ]
    found = store.find_tracklets([one for one in detections if one is not None])
    return sorted(set(found))


def to_values(person: Person, after: int) -> dict[str, Any]:
    """Return the fields of a person's note, compared up to a tracklet."""
    names = "name", "note", "since", "until"
    return {name: getattr(person, name) for name in names} | {"after": max(person.after, after)}


def find_last(store: GalleryStore) -> int:
    """Return the highest id of the tracklets; 0 without any."""
    count = store.count_tracklets()
    last = store.tracklets(limit=1, offset=count - 1) if count else []
    return last[0].tracklet_id if last else 0


def load_stranger_count(store: GalleryStore) -> CountStrangers | None:
    """Return the calibration of a gallery; None if it is not calibrated."""
    loaded = StrangerCounter(store).load()
    return None if loaded.scale is None else loaded.count
