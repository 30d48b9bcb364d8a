"""Retention by camera: old sightings go, undated ones stay and are counted."""

import pytest

from clsa_search.errors import InputError
from clsa_search.retrieval.audit_log import read_audit
from clsa_search.retrieval.retention import (
    apply_retention,
    parse_retention,
    plan_retention,
    read_retention,
    set_retention,
)
from tests.support.sighting_cases import DAY

NEXT_WEEK = DAY + 7.5 * 86400


def count_by_camera(store):
    return {
        name: sum(one.camera == name for one in store.tracklets()) for name in ("north", "south")
    }


def test_days_are_kept_in_the_gallery(store):
    assert read_retention(store) == {}
    assert set_retention(store, {"north": 7, "*": 30}) == {"north": 7, "*": 30}
    assert set_retention(store, {"north": None, "south": 1.5}) == {"*": 30, "south": 1.5}
    assert read_retention(store) == {"*": 30, "south": 1.5}


@pytest.mark.parametrize(
    ("days", "left", "undated"),
    [
        ({}, (2, 3), 0),
        ({"north": 7}, (0, 3), 0),
        ({"north": 8}, (2, 3), 0),
        ({"south": 7}, (2, 1), 1),  # the image has no time
        ({"*": 7}, (0, 1), 1),
        ({"*": 7, "north": 30}, (2, 1), 1),
        ({"north": 30}, (2, 3), 0),
    ],
)
def test_sightings_go_after_the_days_of_their_camera(store, days, left, undated):
    set_retention(store, days)
    plan = plan_retention(store, NEXT_WEEK)
    assert count_by_camera(store) == {"north": 2, "south": 3}
    assert apply_retention(store, NEXT_WEEK) == plan
    assert tuple(count_by_camera(store).values()) == left
    assert plan.without_time == undated
    assert len(plan.sightings) == 5 - sum(left)
    assert apply_retention(store, NEXT_WEEK).sightings == []


def test_retention_is_logged_without_names(store):
    set_retention(store, {"north": 7})
    apply_retention(store, NEXT_WEEK, audit=True)
    apply_retention(store, NEXT_WEEK, audit=True)
    (line,) = read_audit(store)
    assert (line["did"], line["detections"], line["sightings"]) == ("retention", 8, 2)


def test_a_camera_may_hold_an_equals_sign():
    assert parse_retention("a=b=7") == ("a=b", 7)
    assert parse_retention("*=off") == ("*", None)


@pytest.mark.parametrize(
    "text", ["", "gate", "gate=", "=7", "gate=0", "gate=-1", "gate=nan", "gate=inf"]
)
def test_wrong_days_are_named(text):
    with pytest.raises(InputError, match="expected CAMERA=DAYS"):
        parse_retention(text)
