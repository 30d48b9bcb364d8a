"""Copies of galleries keep the watch list, erased places, retention and log."""

import math

import numpy as np
import pytest

from clsa_search.gallery import copy_gallery, open_store
from clsa_search.retrieval.audit_log import read_audit, write_audit
from clsa_search.retrieval.erasure import Suppression, suppress_tracklets
from clsa_search.retrieval.note_transfer import copy_notes
from clsa_search.retrieval.retention import read_retention, set_retention
from clsa_search.retrieval.watch_hits import compare_people, list_pending
from clsa_search.retrieval.watch_list import add_person, list_people, list_sightings_of
from tests.support.footage import embed_color
from tests.support.sighting_cases import DAY, find_sighting, make_gallery, write_footage


def count_strangers(query, similarities, cameras, searched):
    return np.where(similarities > 0.9, 0.0, math.inf)


@pytest.mark.parametrize("form", ["{}/copy.db", "milvus-lite://{}/copy.db"])
def test_notes_are_copied(tmp_path, form):
    address, folder = form.format(tmp_path), write_footage(tmp_path / "footage")
    with make_gallery(tmp_path / "gallery.db", folder, start_time=DAY) as gallery:
        add_person(gallery, "Ann", np.array([embed_color(3)]), is_past_compared=True, until=9e9)
        compare_people(gallery, count_strangers)
        set_retention(gallery, {"north": 7})
        write_audit(gallery, "delete", ["cameras"], 5)
        erased = find_sighting(gallery, 1)
        suppress_tracklets(gallery, [erased.tracklet_id])
        copy_gallery(gallery, address)
        with open_store(address) as copy:
            assert copy_notes(gallery, copy) == 1
            assert copy_notes(gallery, copy) == 0
            (one,), (other,) = list_people(gallery), list_people(copy)
            assert (one.name, one.since, one.until) == (other.name, other.since, other.until)
            np.testing.assert_array_equal(one.examples, other.examples)
            assert other.after == copy.tracklets()[-1].tracklet_id
            found = {find_sighting(copy, 3, name).tracklet_id for name in ("a.avi", "b.avi")}
            assert set(list_sightings_of(copy, "Ann")) == found
            assert {hit.sighting for hit in list_pending(copy)} == found
            assert read_retention(copy) == {"north": 7}
            assert read_audit(copy) == read_audit(gallery)
            places = [store.notes("suppressed")[0].values for store in (gallery, copy)]
            assert places[0] == places[1] and Suppression(copy)
