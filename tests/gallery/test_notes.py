"""Notes in a gallery store."""

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Note, open_store
from tests.support.store_cases import make_embeddings, make_image, new_store


def test_notes_are_written_changed_and_deleted(store_address):
    with new_store(store_address) as store, open_store(store_address) as other:
        store.add([make_image(make_embeddings(3))])
        (detection, *_) = [one.detection_id for one in store.scan()]
        person = Note("person", {"name": "Zoë \u202e 'x'", "until": None, "since": 2.5})
        example = Note("example", {"person": 1}, detection=detection, data=b"\0\xff" * 10_000)
        ids = store.write_notes([person, example])
        assert ids[0] < ids[1]
        (found,) = other.notes("person")
        assert found == Note("person", person.values, note_id=ids[0])
        assert other.notes("example", detection)[0].data == example.data
        assert other.notes("example", detection + 1) == other.notes("verdict") == []
        changed = Note("person", {"name": "Ann"}, note_id=ids[0])
        (new,) = set(store.write_notes([changed, Note("person", {})], delete=[ids[1], 77])) - {
            ids[0]
        }
        assert new not in ids
        assert [one.values for one in other.notes("person")] == [{"name": "Ann"}, {}]
        assert other.notes("example") == []
        with pytest.raises(InputError, match=f"there is no note {ids[1]}"):
            store.write_notes([Note("person", {"name": "late"}), Note("x", {}, note_id=ids[1])])
        assert len(other.notes("person")) == 2  # all or nothing


def test_notes_go_with_their_detection(store_address):
    with new_store(store_address) as store:
        store.add([make_image(make_embeddings(3)), make_image(make_embeddings(1), "b.jpg")])
        ids = [one.detection_id for one in store.scan()]
        store.write_notes([Note("verdict", {"said": "same"}, detection=one) for one in ids])
        store.write_notes([Note("verdict", {"said": "all"})])
        store.delete_detections(ids[:1])
        assert [one.detection for one in store.notes("verdict")] == [*ids[1:], None]
        store.delete("a.jpg")
        assert [one.detection for one in store.notes("verdict")] == [ids[3], None]


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ("text", "a note is a str; expected a Note"),
        (Note("a", {"x": float("nan")}), "note 'a': values: .*expected plain finite numbers"),
        (Note("a", {"x": b"bytes"}), "note 'a': values: .*expected plain"),
        (Note("a", None), "note 'a': values: .*expected plain"),
        (Note("", {}), "expected a kind, and data as bytes"),
        (Note("a", {}, data="text"), "expected a kind, and data as bytes"),
    ],
)
def test_wrong_notes_are_refused(tmp_path, note, words):
    with new_store(tmp_path / "gallery.db") as store:
        with pytest.raises(InputError, match=words):
            store.write_notes([note])


def test_the_state_of_notes_tells_new_and_deleted_ones(store_address):
    with new_store(store_address) as store, open_store(store_address) as other:
        assert store.note_state("verdict") == (0, 0)
        (first,) = store.write_notes([Note("verdict", {})])
        assert other.note_state("verdict") == (1, first)
        (second,) = store.write_notes([Note("verdict", {})], delete=[first])  # as many as before
        assert other.note_state("verdict") == (1, second) and second > first
        assert other.note_state("person") == (0, 0)
        store.write_notes([], delete=[second])
        assert other.note_state("verdict") == (0, 0)
