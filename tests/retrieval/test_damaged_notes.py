"""Damaged notes: searches go on without them, one line says so, and a command repairs them."""

import sqlite3

import numpy as np
import pytest

from clsa_search.commands.search_gallery import main
from clsa_search.errors import InputError
from clsa_search.gallery import Note, copy_gallery, open_store
from clsa_search.retrieval.evidence_case import CaseRequest, write_case
from clsa_search.retrieval.gallery_calibration import calibrate_gallery, refresh_calibration
from clsa_search.retrieval.match_judge import MatchJudge
from clsa_search.retrieval.note_repair import delete_damaged, find_damaged
from clsa_search.retrieval.note_transfer import copy_notes
from clsa_search.retrieval.results import QueryResult, list_warnings
from clsa_search.retrieval.search_answers import describe_answer
from clsa_search.retrieval.sighting_search import search_sightings
from clsa_search.retrieval.stored_calibration import CALIBRATION_KIND, read_calibration
from clsa_search.retrieval.verdict_store import UserVerdict, list_verdicts, say_verdicts
from clsa_search.retrieval.watch_list import add_person, list_people
from clsa_search.sightings.calibration import Calibration
from clsa_search.sightings.stranger_tail import StrangerTail
from tests.support.photographs import START, WIDTH, add_photographs, unit

QUERY = "a-random_name-1"


@pytest.fixture
def store(store_address):
    """A gallery of 30 photographs with a calibration; one of its own would take many more."""
    with open_store(store_address, weights="w", create=True) as opened:
        add_photographs(opened, 30, camera="north")
        write_calibration(opened)
        yield opened


def write_calibration(store, apart=()):
    tail = StrangerTail((-3.0, 0.0, 3.0, 6.0), (1.0, 0.5, 1e-3, 1e-6))
    ids = tuple(one.tracklet_id for one in store.tracklets())
    known = Calibration(tail, 600, 0, len(ids), ids, 0.0, apart, START)
    data = np.array(ids, "<i8").tobytes()
    stale = [one.note_id for one in store.notes(CALIBRATION_KIND)]
    store.write_notes([Note(CALIBRATION_KIND, known.to_values(), data=data)], stale)


def damage(store, kind, place=0, text="{"):
    """Change the value of a stored note behind the store's back."""
    number = store.notes(kind)[place].note_id
    if "://" not in store.address:
        with sqlite3.connect(store.address) as connection:
            value = text.encode() if isinstance(text, str) else text
            change = "UPDATE notes SET value = cast(? AS TEXT) WHERE id = ?"
            connection.execute(change, (value, number))
        connection.close()
        return
    from pymilvus import MilvusClient

    server, _, name = store.address.rpartition("/")
    client = MilvusClient(server)
    table = f"{name}_notes"
    (row,) = client.query(table, filter=f"id == {number}", output_fields=["*"])
    value = text if isinstance(text, str) else text.decode(errors="replace")
    client.upsert(table, [{**row, "value": value}])
    client.close()


def search(store):
    """Return the result of a search with a judge that knows nothing yet."""
    embedding = store.get_tracklets([store.tracklets()[0].tracklet_id])[0].embedding
    matches, answer = search_sightings(store, MatchJudge(store), np.asarray(embedding), 5)
    return QueryResult("query", [], matches, answer=answer)


@pytest.mark.parametrize("text", ["{", b"\xff\xfe", '{"values": {}}'])
def test_a_search_goes_on_without_a_damaged_calibration(store, text):
    expected = search(store)
    assert expected.answer.calibrated
    damage(store, "calibration", text=text)
    found = search(store)
    assert not found.answer.calibrated
    assert sorted(one.similarity for one in found.matches) == sorted(
        one.similarity for one in expected.matches
    )
    assert found.summary.count("its calibration is damaged") == 1
    assert f"expected `clsa-search calibrate {store.address}`" in found.summary
    assert list_warnings(found) == []
    assert "is damaged" in describe_answer(found).reason
    with pytest.raises(InputError, match="its calibration is damaged; expected `clsa-search cal"):
        read_calibration(store)
    calibrate_gallery(store)
    assert read_calibration(store).pairs == 180 and len(store.notes("calibration")) == 1
    assert "is damaged" not in search(store).summary


def test_indexing_makes_a_damaged_calibration_anew_and_says_what_is_lost(store):
    add_photographs(store, 2, camera="south")
    write_calibration(store, (("north", "south"),))
    damage(store, "calibration")
    lost = []
    assert refresh_calibration(store, warn=lost.append).apart == ()
    (line,) = lost
    assert line.startswith(f"{store.address}: its calibration was damaged and is made anew; ")
    assert "--apart" in line
    assert refresh_calibration(store, warn=lost.append) is None and len(lost) == 1


def test_calibrating_with_the_cameras_loses_nothing(tmp_path):
    with open_store(tmp_path / "street.db", weights="w", create=True) as store:
        add_photographs(store, 2, camera="south")
        add_photographs(store, 2, camera="north")
        write_calibration(store)
        damage(store, "calibration")
        lost = []
        calibrate_gallery(store, [["north", "south"]], warn=lost.append)
        assert read_calibration(store).apart == (("north", "south"),) and lost == []


@pytest.mark.parametrize("text", ["{", '{"values": {"said": "same"}}'])
def test_a_search_goes_on_without_a_damaged_verdict(store, text):
    ids = [one.tracklet_id for one in store.tracklets(limit=120)]
    say_verdicts(store, QUERY, [UserVerdict(one, "same", 9.0) for one in ids[:60]])
    say_verdicts(store, QUERY, [UserVerdict(one, "other", 1.0) for one in ids[60:]])
    assert search(store).answer.matches[0].probability > 0.9
    damage(store, "verdict", 3, text)
    found = search(store)
    assert (found.answer.verdicts.same, found.answer.verdicts.other) == (59, 60)
    assert found.answer.matches[0].probability > 0.9  # the other ones count
    (line,) = list_warnings(found)
    command = f"`clsa-search repair {store.address}`"
    start = f"{store.address}: 1 verdict is damaged and left out: {command}"
    assert line.startswith(start) and describe_answer(found).damage.startswith(start)
    say_verdicts(store, QUERY, [UserVerdict(ids[0], "other", 1.0)])  # new ones are stored
    assert len(list_verdicts(store)) == 119
    damaged = find_damaged(store)
    assert [(kind, len(found)) for kind, found in damaged.items()] == [("verdict", 1)]
    delete_damaged(store, damaged)
    assert list_warnings(search(store)) == [] and find_damaged(store) == {}
    assert len(list_verdicts(store)) == 119


def test_copies_leave_damaged_notes_out(store, tmp_path):
    ids = [one.tracklet_id for one in store.tracklets(limit=2)]
    say_verdicts(store, QUERY, [UserVerdict(one, "same", 9.0) for one in ids])
    damage(store, "verdict")
    copy_gallery(store, tmp_path / "copy.db")
    with open_store(tmp_path / "copy.db") as copy:
        copy_notes(store, copy)
        assert len(list_verdicts(copy)) == 1
    main(["copy", store.address, str(tmp_path / "other.db")])
    with open_store(tmp_path / "other.db") as copy:
        assert read_calibration(copy) is not None


def test_a_case_says_that_the_calibration_is_damaged(store, tmp_path):
    damage(store, "calibration")
    with open(tmp_path / "case.zip", "wb") as file:
        missing = write_case(store, [], CaseRequest(), file)
    assert missing == [
        f"{store.address}: its calibration is damaged; expected `clsa-search calibrate "
        f"{store.address}`"
    ]


def test_other_damaged_notes_are_named_and_repaired(store, capsys):
    examples = unit(np.eye(WIDTH)[:2])
    for name in ("Ann", "Ben"):
        add_person(store, name, examples)
    store.write_notes([Note("hit", {"person": store.notes("person")[0].note_id}, detection=1)])
    damage(store, "person")
    with pytest.raises(InputError, match="person: note .* is damaged; expected `clsa-search repai"):
        list_people(store)
    assert search(store).answer.calibrated
    damage(store, "calibration")
    main(["repair", store.address])
    assert "nothing is deleted without --yes" in capsys.readouterr().out
    assert len(find_damaged(store)["example"]) == 2  # of the lost person
    main(["repair", store.address, "--yes"])
    lines = capsys.readouterr().out.splitlines()
    assert any("1 damaged: person of the watch list" in line for line in lines)
    assert any("5 damaged notes deleted; the others are kept" in line for line in lines)
    assert [(one.name, len(one.examples)) for one in list_people(store)] == [("Ben", 2)]
    assert store.notes("hit") == [] and find_damaged(store) == {}
    assert read_calibration(store) is None
    main(["repair", store.address])
    assert "0 damaged notes" in capsys.readouterr().out


def test_a_whole_calibration_before_a_damaged_one_is_kept(store):
    write_calibration(store, (("door", "north"),))
    (whole,) = store.notes("calibration")
    store.write_notes([Note("calibration", dict(whole.values), data=whole.data)])
    damage(store, "calibration", 1)
    assert [*find_damaged(store)] == ["calibration"]
    delete_damaged(store, find_damaged(store))
    assert read_calibration(store).apart == (("door", "north"),)


def test_a_hit_without_a_person_is_damaged(store):
    store.write_notes([Note("hit", {"reported": True}, detection=1)])
    assert [*find_damaged(store)] == ["hit"]


def test_calibrate_and_verdict_repair_from_the_shell(tmp_path, capsys):
    with open_store(tmp_path / "street.db", weights="w", create=True) as store:
        add_photographs(store, 100, camera="north")
        calibrate_gallery(store)
        say_verdicts(store, QUERY, [UserVerdict(1, "same", 9.0), UserVerdict(2, "other", 1.0)])
        for kind in ("calibration", "verdict"):
            damage(store, kind)
    main(["calibrate", str(tmp_path / "street.db")])
    lines = capsys.readouterr().out.splitlines()
    assert "problem: " in lines[0] and "was damaged" in lines[0]
    assert "calibrated by 600 pairs" in lines[1]
    main(["verdict", str(tmp_path / "street.db")])
    lines = capsys.readouterr().out.splitlines()
    assert "0 same, 1 somebody else" in lines[0] and "1 verdict is damaged" in lines[1]
    main(["verdict", str(tmp_path / "street.db"), "--forget"])
    assert "2 verdicts forgotten" in capsys.readouterr().out
