"""A shift of start times that is interrupted at any moment is completed, and never done twice."""

import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, IndexProgress, Note, Placement, copy_gallery, open_store
from clsa_search.retrieval.note_repair import delete_damaged, find_damaged
from clsa_search.retrieval.note_transfer import copy_notes
from clsa_search.retrieval.placement_options import PlacementOptions
from clsa_search.retrieval.shift_plans import SHIFT_KIND
from clsa_search.retrieval.source_retiming import retime
from tests.gallery.test_store_upkeep import FORMS
from tests.support.store_cases import make_embeddings, make_image, new_store

START, STEP, FILES = 1.7e9, 3600.0, 4
PATHS = [f"/clips/{i}.mp4" for i in range(FILES)]


class Killed(BaseException):
    """Ends a call where a killed process would end."""


@pytest.fixture(params=FORMS)
def store(request, tmp_path):
    """A gallery of videos, with and without detections, each with its start."""
    with new_store(request.param.format(tmp_path)) as opened:
        for i, path in enumerate(PATHS):
            rows = make_embeddings(2, seed=i)
            images = [make_image(rows, path, frame=i, time=i / 10) for i in range(2)]
            opened.add(images, [IndexProgress(path, "1")])
            opened.place(path, Placement("gate", START + i, "name"), "1")
        yield opened


def shift(store, *paths, seconds=STEP, **options):
    return retime(store, paths or ["/clips"], PlacementOptions(**options), shift=seconds)


def list_starts(store):
    return [source.start for source in store.sources()]


def list_times(store):
    return [
        [one.time for one in store.list(Filter(sources=[source.path]))][0] - source.start
        for source in store.sources()
    ]


MOVED = [START + i + STEP for i in range(FILES)]


def kill_at(monkeypatch, store, name, call):
    """Let a method of the store end the process at one of its calls, before it does anything."""
    method, calls = getattr(type(store), name), []

    def run_until(self, *args, **options):
        calls.append(args)
        if len(calls) == call:
            raise Killed
        return method(self, *args, **options)

    monkeypatch.setattr(type(store), name, run_until)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        *(("write_notes", 1), ("place", 1), ("place", 2), ("place", FILES), ("write_notes", 2)),
        *(("set_tracklets", 1), ("set_tracklets", FILES)),
    ],
)
def test_the_same_command_completes_a_killed_shift(store, monkeypatch, name, call):
    with monkeypatch.context() as patch:
        kill_at(patch, store, name, call)
        with pytest.raises(Killed):
            shift(store)
    done = shift(store)
    assert list_starts(store) == MOVED and list_times(store) == pytest.approx([0] * FILES)
    assert len(done.changed) == FILES and not done.problems
    assert done.is_completed == ((name, call) != ("write_notes", 1))  # nothing was planned then
    assert store.notes(SHIFT_KIND) == [] and store.unlinked() == []
    assert not shift(store).is_completed  # a second shift is one
    assert list_starts(store) == [one + STEP for one in MOVED]


def test_another_command_completes_a_killed_shift_before_its_own_work(store, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at(patch, store, "place", 3)
        with pytest.raises(Killed):
            shift(store, camera="yard")
    done = shift(store, PATHS[0], seconds=60.0)
    assert done.is_completed and len(done.changed) == FILES + 1
    assert list_starts(store) == [MOVED[0] + 60, *MOVED[1:]]
    assert store.cameras() == ["yard"]


def test_what_changed_meanwhile_is_left_and_named(store, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at(patch, store, "place", 1)
        with pytest.raises(Killed):
            shift(store)
    store.delete(PATHS[0])
    store.place(PATHS[1], Placement("gate", 5e8, "given"), None)
    store.place(PATHS[2], Placement("yard", START + 2, "name"), None)
    done = shift(store)
    reasons = dict(done.problems)
    assert "was deleted or moved while a shift was interrupted" in reasons[PATHS[0]]
    for path in PATHS[1:3]:
        assert "got another camera or start while a shift was interrupted" in reasons[path]
    assert list_starts(store) == [5e8, START + 2, MOVED[3]] and store.notes(SHIFT_KIND) == []
    assert [source.camera for source in store.sources()] == ["gate", "yard", "gate"]


def test_files_that_cannot_be_changed_now_stay_planned(store, monkeypatch):
    with monkeypatch.context() as patch:
        method = type(store).place

        def refuse(self, source, *args, **options):
            if source == PATHS[1]:
                raise InputError(f"{source}: another process holds it")
            return method(self, source, *args, **options)

        patch.setattr(type(store), "place", refuse)
        done = shift(store)
        assert [path for path, _ in done.problems] == [PATHS[1]] and len(done.changed) == 3
    assert shift(store).is_completed
    assert list_starts(store) == MOVED


def test_a_copy_of_a_half_shifted_gallery_is_completed_too(store, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        kill_at(patch, store, "place", 3)
        with pytest.raises(Killed):
            shift(store)
    copy_gallery(store, tmp_path / "copy.db")
    with open_store(tmp_path / "copy.db") as copy:
        copy_notes(store, copy)
        assert shift(copy).is_completed and list_starts(copy) == MOVED


def test_a_plan_of_many_files_is_split(tmp_path):
    paths = [f"/clips/{'x' * 180}{i:04}.mp4" for i in range(400)]
    with new_store(tmp_path / "street.db") as store:
        store.add([make_image(make_embeddings(1), path, frame=0, time=0.0) for path in paths])
        for path in paths:
            store.place(path, Placement(None, START, "name"), None)
        write_notes, sizes = type(store).write_notes, []

        def count(self, notes, delete=()):
            sizes.extend(len(note.values["files"]) for note in notes)
            return write_notes(self, notes, delete)

        type(store).write_notes = count
        try:
            assert len(shift(store).changed) == 400
        finally:
            type(store).write_notes = write_notes
        assert sum(sizes) == 400 and max(sizes) < 160
        assert set(list_starts(store)) == {START + STEP}


def test_a_damaged_plan_is_named(tmp_path):
    with new_store(tmp_path / "street.db") as store:
        store.add([make_image(make_embeddings(1), PATHS[0], frame=0, time=0.0)])
        store.place(PATHS[0], Placement(None, START, "name"), None)
        store.write_notes([Note(SHIFT_KIND, {"files": 7})])
        with pytest.raises(InputError, match="shift: .* is damaged; expected `clsa-search repair"):
            shift(store)
        delete_damaged(store, find_damaged(store))
        assert len(shift(store).changed) == 1
