"""The watch list: people, hits once a sighting, the end of a watch, words of the user."""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.retrieval.deletions import DeletionSelector, plan_deletion, run_deletion
from clsa_search.retrieval.hit_reports import format_hit, run_hook
from clsa_search.retrieval.hook_command import parse_hook
from clsa_search.retrieval.watch_hits import (
    WATCHED_HOUR,
    Hit,
    compare_people,
    count_per_day,
    list_pending,
    mark_reported,
    tell_least_alarms,
)
from clsa_search.retrieval.watch_list import (
    MAX_EXAMPLES,
    add_person,
    find_person,
    forget_person,
    judge_sighting,
    list_people,
    list_sightings_of,
)
from tests.support.footage import embed_color, write_video
from tests.support.sighting_cases import (
    CLIP_RULES,
    DAY,
    find_sighting,
    index_again,
    make_gallery,
    write_clips,
)


def embed(*colors):
    return np.array([embed_color(color) for color in colors], np.float32)


def count_strangers(query, similarities, cameras, searched):
    """Return one stranger in a thousand above 0.9, all below."""
    assert len(cameras) == len(similarities)
    return np.where(similarities > 0.9, searched / 1000, searched)


def compare(store, **options):
    return [(hit.person, hit.sighting) for hit in compare_people(store, count_strangers, **options)]


def test_new_sightings_are_compared_once(store, folder):
    add_person(store, "Ann", embed(3))
    assert compare(store) == []  # only new sightings count
    write_video(folder / "north" / "c.avi", [{3: 2 * i, 0: 80} for i in range(30)])
    index_again(store, folder, start_time=DAY)
    new = find_sighting(store, 3, "c.avi").tracklet_id
    assert compare(store) == [("Ann", new)]
    assert compare(store) == []
    assert list_sightings_of(store, "Ann") == [new]


def test_hits_are_pending_until_they_are_reported(store):
    add_person(store, "Ann", embed(3), is_past_compared=True)
    found = compare_people(store, count_strangers)
    pending = list_pending(store)
    assert [(hit.person, hit.sighting, hit.similarity) for hit in pending] == [
        (hit.person, hit.sighting, hit.similarity) for hit in found
    ]
    mark_reported(store, pending[0])
    assert list_pending(store) == pending[1:]
    judge_sighting(store, "Ann", pending[1].sighting, "same")
    assert list_pending(store) == pending[1:]
    mark_reported(store, pending[1])
    judge_sighting(store, "Ann", find_sighting(store, 1).tracklet_id, "same")
    assert list_pending(store) == []


def test_past_sightings_are_compared_on_request(store):
    add_person(store, "Ann", embed(3), is_past_compared=True)
    add_person(store, "Bob", embed(1), is_past_compared=True)
    found = compare(store)
    assert [name for name, _ in found] == ["Ann", "Ann", "Bob"]
    assert {sighting for name, sighting in found if name == "Ann"} == {
        find_sighting(store, 3, file).tracklet_id for file in ("a.avi", "b.avi")
    }


def test_a_sighting_in_several_clips_is_one_hit(tmp_path):
    folder = write_clips(tmp_path / "clips")
    with make_gallery(tmp_path / "clips.db", folder, link=False, **CLIP_RULES) as store:
        add_person(store, "Ann", embed(3), is_past_compared=True)
        assert len(compare(store)) == 1
        assert count_per_day(store.tracklets()) == 1


def test_the_knob_is_false_alarms_per_day(store):
    add_person(store, "Ann", embed(3), is_past_compared=True)
    rate = count_per_day(store.tracklets()) / 1000
    assert compare(store, false_alarms_per_day=0.9 * rate) == []
    add_person(store, "Ann", embed(3), is_past_compared=True)  # two examples: twice as many
    assert compare(store, false_alarms_per_day=1.9 * rate) == []
    add_person(store, "Bob", embed(1), is_past_compared=True)
    hits = compare_people(store, count_strangers, false_alarms_per_day=3 * rate)
    assert {hit.person for hit in hits} == {"Bob"}
    assert [hit.false_alarms_per_day for hit in hits] == [pytest.approx(3 * rate)]


def test_sightings_per_day_come_from_their_times(store):
    assert count_per_day(store.tracklets()) == 5  # of three seconds: as one day
    assert count_per_day([]) == 0


def test_the_first_hours_tell_the_rate_of_a_growing_gallery(store):
    assert count_per_day(store.tracklets(), WATCHED_HOUR) == 24 * 4 + 1  # and a photo without date


def test_times_within_videos_are_no_days(store, tmp_path):
    first = store.tracklets()
    undated = [replace(one, first=5.0, last=6.0) for one in first[:1]]
    assert count_per_day([*undated, *first[1:]]) == 5  # not one in two thousand days


def test_the_fewest_alarms_follow_the_list(store):
    assert tell_least_alarms(store, 0.001) == 0
    add_person(store, "Ann", embed(3, 1))
    add_person(store, "Bob", embed(0), until=DAY)
    assert tell_least_alarms(store, 0.001) == pytest.approx(0.001 * 2 * 5)


def test_a_watch_ends(store):
    add_person(store, "Ann", embed(3), until=DAY, is_past_compared=True)
    assert compare(store, now=DAY) == []
    assert len(compare(store, now=DAY - 1)) == 2


def test_examples_are_added_to_a_known_person(store):
    first = add_person(store, "Ann", embed(3), note="red coat", until=DAY)
    again = add_person(store, "Ann", embed(1, 2))
    assert (again.person_id, again.note, again.until) == (first.person_id, "red coat", DAY)
    np.testing.assert_array_equal(again.examples, embed(3, 1, 2))
    with pytest.raises(InputError, match=rf"21 images; expected 1 to {MAX_EXAMPLES}"):
        add_person(store, "Ann", embed(*[0] * 18))
    for name, rows in (("Bob", embed(3)[:0]), (" ", embed(3))):
        with pytest.raises(InputError, match="person"):
            add_person(store, name, rows)


def test_a_forgotten_person_leaves_nothing(store, tmp_path):
    rows = np.linspace(-1, 1, 8, dtype=np.float32)[None]
    rows /= np.linalg.norm(rows)
    add_person(store, "Ann Example", rows, note="secret note", is_past_compared=True)
    add_person(store, "Bob", embed(3), is_past_compared=True)
    compare(store, false_alarms_per_day=math.inf)
    forget_person(store, "Ann Example")
    disk = (tmp_path / "gallery.db").read_bytes() + (tmp_path / "gallery.db-wal").read_bytes()
    assert not any(part in disk for part in (b"Ann Example", b"secret note", rows.tobytes()))
    assert [person.name for person in list_people(store)] == ["Bob"]
    assert len(list_sightings_of(store, "Bob")) == 5
    with pytest.raises(InputError, match="'Ann Example' is not on the watch list; expected 'Bob'"):
        find_person(store, "Ann Example")


def test_the_user_says_who_it_is(store):
    add_person(store, "Ann", embed(3), is_past_compared=True)
    (_, first), (_, second) = compare(store)
    other = find_sighting(store, 1).tracklet_id
    judge_sighting(store, "Ann", first, "other")
    judge_sighting(store, "Ann", other, "same")
    assert list_sightings_of(store, "Ann") == sorted([second, other])
    judge_sighting(store, "Ann", first, None)
    assert list_sightings_of(store, "Ann") == sorted([first, second, other])
    for name, sighting, said in (
        ("Bob", first, "same"),
        ("Ann", 10**6, "same"),
        ("Ann", first, "no"),
    ):
        with pytest.raises(InputError):
            judge_sighting(store, name, sighting, said)


def test_deleted_sightings_are_no_hits(store):
    add_person(store, "Ann", embed(3), is_past_compared=True)
    (_, first), (_, second) = compare(store)
    plan = plan_deletion(store, DeletionSelector(sightings=[first]))
    run_deletion(store, plan)
    assert list_sightings_of(store, "Ann") == [second]


def test_examples_go_with_the_sightings_they_were_taken_from(store):
    taken = find_sighting(store, 1)
    add_person(store, "Ann", np.concatenate([taken.embedding[None], embed(3)]))
    add_person(store, "Bob", taken.embedding[None])
    plan = plan_deletion(store, DeletionSelector(sightings=[taken.tracklet_id]))
    run_deletion(store, plan)
    np.testing.assert_array_equal(find_person(store, "Ann").examples, embed(3))
    assert len(find_person(store, "Bob").examples) == 0
    assert compare(store) == []


HIT = Hit("Ann", 7, "/a/b.mp4", "north", DAY, DAY + 1.5, 0.75, 0.25)


def test_a_hit_is_one_line_of_json():
    assert json.loads(format_hit(HIT)) == {
        "person": "Ann",
        "sighting": 7,
        "source": "/a/b.mp4",
        "camera": "north",
        "first": "2026-05-01T00:00:00.000+00:00",
        "last": "2026-05-01T00:00:01.500+00:00",
        "similarity": 0.75,
        "false_alarms_per_day": 0.25,
    }
    assert "\n" not in format_hit(Hit("A\nB", 1, "x\udcff", None, None, None, 0.5, 1))


def test_a_hook_gets_the_hit_without_a_shell(tmp_path):
    target = tmp_path / "out; touch x"
    code = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    words = parse_hook(f"{sys.executable} -c {json.dumps(code)} '{target}'")
    assert run_hook(words, HIT) is None
    assert json.loads(target.read_text()) == json.loads(format_hit(HIT))


def test_a_hook_that_fails_is_named():
    fail = [sys.executable, "-c", "import sys; sys.exit('no network')"]
    assert "ended with 1: no network" in (run_hook(fail, HIT) or "")
    assert "No such file" in (run_hook(["/none"], HIT) or "")
    for text in ("", "  ", "a 'b"):
        with pytest.raises(InputError, match="hook"):
            parse_hook(text)
