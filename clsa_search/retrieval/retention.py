"""Retention: sightings older than a number of days are deleted, by camera.

The days are notes of the gallery, so every process that indexes into it applies the same ones.
Sightings without a calendar time have no age: they stay, and are counted.
"""

import math
import time
from collections.abc import Mapping
from typing import NamedTuple

from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore, Note
from clsa_search.retrieval.audit_log import write_audit
from clsa_search.retrieval.time_format import CALENDAR_FROM

OTHERS = "*"
"""Stands for all cameras without days of their own, and for sightings without a camera."""

RETENTION_KIND = "retention"
_DAY = 86400.0


class RetentionPlan(NamedTuple):
    """What retention would delete now.

    Args:
        sightings: ids of the tracklets.
        detections: number of their detections.
        without_time: number of sightings without a calendar time, which stay.
        left: reason why deleted bytes may still be on the disk; None if they are gone.
    """

    sightings: list[int]
    detections: int
    without_time: int
    left: str | None = None


def parse_retention(text: str) -> tuple[str, float | None]:
    """Return camera and days of a text such as "gate=7", "*=30" or "gate=off".

    Raises:
        InputError: the text has another form.
    """
    camera, separator, value = text.rpartition("=")
    try:
        days = None if value == "off" else float(value)
        if not camera or not separator or days is not None and not 0 < days < math.inf:
            raise ValueError
    except ValueError as error:
        raise InputError(
            f"retention: {text!r}; expected CAMERA=DAYS as gate=7, *=30 for all others, or gate=off"
        ) from error
    return camera, days


def set_retention(store: GalleryStore, days: Mapping[str, float | None]) -> dict[str, float]:
    """Set or, with None, remove the days of some cameras; return the days of all."""
    notes = store.notes(RETENTION_KIND)
    kept = dict(notes[-1].values["days"]) if notes else {}
    kept = {name: value for name, value in (kept | dict(days)).items() if value is not None}
    store.write_notes(
        [Note(RETENTION_KIND, {"days": kept})],
        delete=[one.note_id for one in notes if one.note_id is not None],
    )
    return kept


def read_retention(store: GalleryStore) -> dict[str, float]:
    """Return the days by camera; empty without retention."""
    notes = store.notes(RETENTION_KIND)
    return dict(notes[-1].values["days"]) if notes else {}


def plan_retention(store: GalleryStore, now: float | None = None) -> RetentionPlan:
    """Find the sightings that are too old.

    Args:
        store: gallery.
        now: present time in seconds.
    """
    now = time.time() if now is None else now
    days = read_retention(store)
    ids, detections, without_time = [], 0, 0
    for one in store.tracklets() if days else ():
        limit = days.get(one.camera or OTHERS, days.get(OTHERS))
        if limit is None:
            continue
        if one.last is None or one.last < CALENDAR_FROM:
            without_time += 1
        elif one.last < now - limit * _DAY:
            ids.append(one.tracklet_id)
            detections += one.detections
    return RetentionPlan(ids, detections, without_time)


def apply_retention(
    store: GalleryStore, now: float | None = None, *, audit: bool = False
) -> RetentionPlan:
    """Delete the sightings that are too old; return what was deleted."""
    plan = plan_retention(store, now)
    if plan.sightings:
        store.delete_detections(store.list_members(plan.sightings))
        if audit:
            write_audit(
                store, "retention", ["cameras", "before"], plan.detections, len(plan.sightings)
            )
        plan = plan._replace(left=store.scrub())
    return plan
