"""The user's verdicts are stored, feed the probability, and go with their sighting."""

import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, IndexProgress, copy_gallery, open_store
from clsa_search.gallery.sqlite_schema import SCHEMA_VERSION
from clsa_search.retrieval.deletions import DeletionSelector, plan_deletion, run_deletion
from clsa_search.retrieval.gallery_calibration import calibrate_gallery
from clsa_search.retrieval.match_judge import MatchJudge
from clsa_search.retrieval.note_transfer import copy_notes
from clsa_search.retrieval.sighting_search import SightingChoice, search_sightings
from clsa_search.retrieval.verdict_store import (
    VERDICT_KIND,
    UserVerdict,
    VerdictReader,
    count_verdicts,
    forget_verdicts,
    list_said,
    list_verdicts,
    say_verdicts,
)
from clsa_search.sightings.user_verdicts import VerdictCounts
from tests.gallery.test_store_upkeep import FORMS, read_disk
from tests.support.photographs import START, WIDTH, add_person, add_photographs, unit
from tests.support.sighting_cases import DAY, find_sighting, index_again, make_gallery
from tests.support.tracklet_cases import link_by

SOMEBODY = unit(np.array([4.0, -4.0] + [0.0] * (WIDTH - 2)))
QUERY, OTHER_QUERY = "a-random_name-1", "another-random-name"


@pytest.fixture(params=FORMS)
def address(request, tmp_path):
    return request.param.format(tmp_path)


@pytest.fixture
def people(address, folder):
    """A gallery of two videos and an image, by color of the person."""
    with make_gallery(address, folder, start_time=DAY) as store:
        yield store


def said(store):
    return [(one.query, one.verdict.sighting, one.verdict.said) for one in list_verdicts(store)]


def test_verdicts_are_said_replaced_and_taken_back(people, address):
    first, second = (one.tracklet_id for one in people.tracklets()[:2])
    say_verdicts(people, QUERY, [UserVerdict(first, "same", 4.0)])
    say_verdicts(people, OTHER_QUERY, [UserVerdict(first, "same", 2.0)])
    say_verdicts(people, QUERY, [UserVerdict(second, "other", 1.0)])
    assert said(people) == [
        (QUERY, first, "same"),
        (OTHER_QUERY, first, "same"),
        (QUERY, second, "other"),
    ]
    say_verdicts(people, QUERY, [UserVerdict(first, "other", 4.0)])  # another mind
    say_verdicts(people, OTHER_QUERY, [UserVerdict(first, None)])
    with open_store(address) as again:
        assert said(again) == [(QUERY, second, "other"), (QUERY, first, "other")]
        (kept,) = [one for one in list_verdicts(again) if one.verdict.sighting == first]
        assert (kept.verdict.z, kept.sightings) == (4.0, people.count_tracklets())
    assert list_said(people, QUERY) == {first: "other", second: "other"}
    assert list_said(people, OTHER_QUERY) == {}
    assert count_verdicts(list_verdicts(people)) == VerdictCounts(0, 2)
    assert forget_verdicts(people)[0] == 2 and said(people) == []
    assert forget_verdicts(people) == (0, None)


def test_of_two_verdicts_that_a_killed_process_left_the_last_one_holds(people):
    (first, *_) = (one.tracklet_id for one in people.tracklets())
    say_verdicts(people, QUERY, [UserVerdict(first, "same", 4.0)])
    (note,) = people.notes(VERDICT_KIND)
    values = {**note.values, "said": "other"}
    people.write_notes([replace(note, note_id=None, values=values)])  # not yet deleted the first
    assert said(people) == [(QUERY, first, "other")]
    assert VerdictReader(people).load().counts == VerdictCounts(0, 1)
    say_verdicts(people, QUERY, [UserVerdict(first, None)])
    assert people.notes(VERDICT_KIND) == []


def test_a_verdict_follows_its_sighting_when_it_is_linked_again(people):
    whole = find_sighting(people, 3, "a.avi")
    middle = people.tracklet_detections(whole.tracklet_id)[2].detection_id
    link_by(people, whole.source, lambda one: (int(one.embedding.argmax()), one.time < DAY + 2))
    (late,) = people.find_tracklets([middle])
    assert late != whole.tracklet_id
    say_verdicts(people, QUERY, [UserVerdict(middle, "same", 3.0)])
    link_by(people, whole.source, lambda one: int(one.embedding.argmax()))
    assert list_said(people, QUERY) == {whole.tracklet_id: "same"}
    say_verdicts(people, QUERY, [UserVerdict(whole.tracklet_id, "other", 3.0)])
    assert said(people) == [(QUERY, whole.tracklet_id, "other")]  # not two of one sighting


def test_verdicts_go_with_their_sighting_and_hold_no_embedding(people, address, folder):
    ids = {color: find_sighting(people, color, "a.avi").tracklet_id for color in (1, 3)}
    photo = find_sighting(people, 2)
    for number in (*ids.values(), photo.tracklet_id):
        say_verdicts(people, "name-to-be-gone", [UserVerdict(number, "same", 3.0)])
    assert all(one.data is None for one in people.notes(VERDICT_KIND))
    fields = {"query", "said", "at", "z", "sightings"}
    assert {name for one in people.notes(VERDICT_KIND) for name in one.values} == fields
    assert b"name-to-be-gone" in read_disk(address)
    plan = plan_deletion(people, DeletionSelector(sightings=[ids[1]]))
    run_deletion(people, plan, erase=True)
    assert [number for _, number, _ in said(people)] == [ids[3], photo.tracklet_id]
    people.delete(photo.source)
    assert [number for _, number, _ in said(people)] == [ids[3]]
    (video,) = [one for one in people.sources() if one.path.endswith("a.avi")]
    progress = IndexProgress(video.path, "changed", replaces=video)
    people.add([], [progress])  # the file has changed: its detections go
    assert said(people) == []
    if people.scrub() is None:  # a server overwrites later
        assert b"name-to-be-gone" not in read_disk(address)


@pytest.mark.parametrize("form", FORMS)
def test_verdicts_are_copied(people, tmp_path, form):
    number = find_sighting(people, 3, "b.avi").tracklet_id
    say_verdicts(people, QUERY, [UserVerdict(number, "same", 3.0)])
    target = form.format(tmp_path / "copies")
    (tmp_path / "copies").mkdir()
    copy_gallery(people, target)
    with open_store(target) as copy:
        copy_notes(people, copy)
        mine = find_sighting(copy, 3, "b.avi").tracklet_id
        assert list_said(copy, QUERY) == {mine: "same"}
        say_verdicts(copy, OTHER_QUERY, [UserVerdict(mine, "other", 3.0)])
        say_verdicts(people, QUERY, [UserVerdict(number, "other", 3.0)])
        copy_notes(people, copy)
        copy_notes(people, copy)
        assert sorted(said(copy)) == [(QUERY, mine, "other"), (OTHER_QUERY, mine, "other")]


def test_a_reader_follows_verdicts_of_other_processes(people, address):
    (first, *_) = (one.tracklet_id for one in people.tracklets())
    reader = VerdictReader(people)
    assert reader.load().counts == VerdictCounts() and reader.load() is reader.load()
    with open_store(address) as other:
        say_verdicts(other, QUERY, [UserVerdict(first, "same", 3.0)])
        assert reader.load().counts == VerdictCounts(1, 0)
        say_verdicts(other, QUERY, [UserVerdict(first, "other", 3.0)])
        assert reader.load().counts == VerdictCounts(0, 1)
        say_verdicts(other, OTHER_QUERY, [UserVerdict(first, "other")])
        assert (reader.load().counts, reader.load().unscored) == (VerdictCounts(0, 1), 1)
        forget_verdicts(other)
    assert reader.load().counts == VerdictCounts() and reader.load().unscored == 0


@pytest.mark.parametrize(
    ("query", "verdict", "words"),
    [
        ("short", UserVerdict(1, "same"), "query: 'short'; expected 8 to 64 letters"),
        ("with a space", UserVerdict(1, "same"), "query: 'with a space'; expected"),
        (QUERY, UserVerdict(1, "perhaps"), "said: 'perhaps'; expected 'same', 'other'"),
        (QUERY, UserVerdict(1, "same", float("nan")), "z: nan; expected the number"),
        (QUERY, UserVerdict(10**6, "same"), "there is no detection 1000000"),
    ],
)
def test_wrong_verdicts_are_refused(store, query, verdict, words):
    right = UserVerdict(store.tracklets()[0].tracklet_id, "same", 1.0)
    with pytest.raises(InputError, match=words):
        say_verdicts(store, query, [right, verdict])
    assert said(store) == []  # all or nothing


@pytest.fixture
def street(tmp_path):
    """A calibrated gallery of 1,202 photographs, two of them of somebody."""
    with open_store(tmp_path / "street.db", weights="w", create=True) as store:
        add_photographs(store, 300, camera="north")
        add_person(store, SOMEBODY, 2, camera="north")
        calibrate_gallery(store)
        yield store


def say_many(store, same, other):
    """Say "same" of very alike matches, "other" of less alike ones; some of both are as alike."""
    rng = np.random.default_rng(0)
    numbers = [one.tracklet_id for one in store.tracklets()]
    for word, count, center in (("same", same, 5.0), ("other", other, 2.0)):
        scores = rng.normal(center, 1.0, count).tolist()
        verdicts = [
            UserVerdict(*pair) for pair in zip(numbers, [word] * count, scores, strict=False)
        ]
        say_verdicts(store, f"query-of-{word}", verdicts)


def test_a_probability_needs_fifty_verdicts_of_each_kind(street):
    judge = MatchJudge(street)
    say_many(street, 49, 80)
    _, answer = search_sightings(street, judge, SOMEBODY, 5)
    assert answer.verdicts == VerdictCounts(49, 80) and answer.verdicts.missing == (1, 0)
    assert [one.probability for one in answer.matches] == [None] * 5
    last = street.tracklets()[-1].tracklet_id
    say_verdicts(street, QUERY, [UserVerdict(last, "same", 5.0)])
    matches, answer = search_sightings(street, judge, SOMEBODY, 5)
    chances = [one.probability for one in answer.matches]
    assert chances == sorted(chances, reverse=True) and chances[0] > 0.9 and chances[4] < 0.6
    assert all(1 / 82 <= one <= 51 / 52 for one in chances)
    best = matches[0].tracklet.tracklet_id
    _, answer = search_sightings(street, judge, SOMEBODY, 5, None, SightingChoice(others=[best]))
    assert {one.probability for one in answer.matches if one.rejected_like} <= {None}


def test_filters_leave_the_probability_and_a_larger_gallery_lowers_it(street):
    say_many(street, 120, 120)
    before = find_chances(street)
    later = find_chances(street, Filter(since=START + 100))
    shared = before.keys() & later.keys()
    assert len(shared) > 2
    assert [later[one] for one in shared] == pytest.approx([before[one] for one in shared])
    add_photographs(street, 2400, camera="south", seed=1)
    after = find_chances(street)
    shared = before.keys() & after.keys()
    assert len(shared) > 2 and all(after[one] <= before[one] for one in shared)
    assert any(after[one] < before[one] for one in shared)


def find_chances(store, where=None):
    matches, answer = search_sightings(store, MatchJudge(store), SOMEBODY, 30, where)
    pairs = zip(matches, answer.matches, strict=True)
    return {one.tracklet.tracklet_id: judged.probability for one, judged in pairs}


def test_without_a_calibration_verdicts_are_kept_and_no_probability_is_stated(people):
    numbers = [one.tracklet_id for one in people.tracklets()]
    for i in range(120):
        said_word = "same" if i % 2 else "other"
        say_verdicts(people, f"random-name-{i}", [UserVerdict(numbers[0], said_word)])
    query = np.eye(people.width, dtype=np.float32)[0]
    _, answer = search_sightings(people, MatchJudge(people), query, 3)
    assert not answer.calibrated and {one.probability for one in answer.matches} == {None}
    loaded = VerdictReader(people).load()
    assert (loaded.counts.total, loaded.unscored) == (0, 120)


def test_a_gallery_of_the_version_before_verdicts_holds_them(tmp_path, folder):
    """Verdicts are notes: a file takes them as it is, and its version stays."""
    path = tmp_path / "gallery.db"
    with make_gallery(path, folder, start_time=DAY) as store:
        number = store.tracklets()[0].tracklet_id
        schema = _read_schema(path)
        say_verdicts(store, QUERY, [UserVerdict(number, "same", 3.0)])
    assert _read_schema(path) == schema
    with sqlite3.connect(path) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    with open_store(path) as store:
        assert list_said(store, QUERY) == {number: "same"}


def _read_schema(path):
    with sqlite3.connect(path) as file:
        return file.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()


def test_indexing_again_keeps_the_verdicts(people, folder):
    number = people.tracklets()[0].tracklet_id
    say_verdicts(people, QUERY, [UserVerdict(number, "same", 3.0)])
    index_again(people, folder, link=False, start_time=DAY)
    assert list_said(people, QUERY) == {number: "same"}
