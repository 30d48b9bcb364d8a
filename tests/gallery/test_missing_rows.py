"""Reads in several steps that another process disturbs on an engine without transactions."""

import pytest

from clsa_search.gallery import open_store
from clsa_search.gallery.missing_rows import MissingRow, repeat_read
from clsa_search.retrieval.match_judge import MatchJudge
from clsa_search.retrieval.sighting_search import search_sightings
from tests.support.store_cases import make_embeddings, make_image, new_store


def test_a_disturbed_read_begins_again():
    left = [MissingRow("gone"), MissingRow("gone"), None]

    def read():
        reason = left.pop(0)
        if reason is not None:
            raise reason
        return "whole"

    assert repeat_read(read) == "whole" and left == []


def test_a_row_that_stays_missing_is_an_error():
    def read():
        raise MissingRow("there is no sighting 7")

    with pytest.raises(MissingRow, match="no sighting 7"):
        repeat_read(read)


def test_a_search_survives_new_links(tmp_path, monkeypatch):
    rows = make_embeddings(3)
    with new_store(tmp_path / "gallery.db") as store:
        store.add([make_image(rows)])
        read, calls = store.get_tracklets, []

        def disturbed(*args, **options):
            calls.append(args)
            if len(calls) == 1:  # as after a link by another process
                raise MissingRow("there is no sighting 1")
            return read(*args, **options)

        monkeypatch.setattr(store, "get_tracklets", disturbed)
        matches, answer = search_sightings(store, MatchJudge(store), rows[0], 3)
        assert len(matches) == 3 and answer.searched == 3 and len(calls) >= 2
    with open_store(tmp_path / "gallery.db") as store, pytest.raises(MissingRow):
        store.get_tracklets([99])
