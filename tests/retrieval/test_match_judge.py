"""Verdicts on the matches of a search: expected strangers, and somebody else's near copies."""

import numpy as np
import pytest

from clsa_search.gallery import GalleryImage, open_store
from clsa_search.retrieval.gallery_calibration import calibrate_gallery
from clsa_search.retrieval.match_judge import MatchJudge
from clsa_search.sightings.ranking_tracklets import search_tracklets
from clsa_search.structures import ImageDetections

WIDTH = 32


def make_rows(rng, count):
    rows = rng.normal(size=(count, WIDTH)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def turn(row, toward, share):
    """Return a row between two of unit length."""
    mixed = (1 - share) * row + share * toward
    return mixed / np.linalg.norm(mixed)


@pytest.fixture
def store(tmp_path):
    """Photographs of ten strangers each; the first person comes back in the last one."""
    rng = np.random.default_rng(0)
    boxes = np.array([[20 * i, 0, 20 * i + 10, 30] for i in range(10)], np.float32)
    with open_store(tmp_path / "g.db", weights="w" * 64, create=True) as store:
        for number in range(40):
            rows = make_rows(rng, 10)
            if number == 39:
                (first,) = store.get([1])
                rows[0] = turn(first.embedding, rows[0], 0.1)
            found = ImageDetections(boxes, np.full(10, 0.9, np.float32), rows)
            store.add([GalleryImage(f"/photos/{number}.jpg", found, camera="north")])
        yield store


def judge(store, query, **verdicts):
    matches = search_tracklets(store, query, 20)
    return MatchJudge(store).judge(query, matches, store.count_tracklets(), **verdicts)


def test_without_a_calibration_there_are_ranks_only(store):
    result = judge(store, store.get([1])[0].embedding)
    assert not result.calibrated and result.nobody is None and "calibrate" in result.reason
    assert all(one.verdict is None and one.expected_strangers is None for one in result.matches)


def test_a_person_who_is_there_stands_out_and_strangers_as_often_as_expected(store):
    calibrate_gallery(store)
    result = judge(store, store.get([1])[0].embedding)
    assert result.calibrated and result.nobody is False and result.searched == 400
    assert [one.verdict == "very likely" for one in result.matches[:3]] == [True, True, False]
    expected = [one.expected_strangers for one in result.matches]
    assert expected == sorted(expected)
    strangers = make_rows(np.random.default_rng(99), 30)
    results = [judge(store, stranger) for stranger in strangers]
    alike = [sum(one.expected_strangers < 1 for one in result.matches) for result in results]
    assert 0.5 < np.mean(alike) < 2  # as many as the number says
    assert [result.nobody for result in results] == [count == 0 for count in alike]
    assert any(result.nobody for result in results)


def test_somebody_else_counts_against_near_copies_at_once(store):
    calibrate_gallery(store)
    query = store.get([1])[0].embedding
    other = search_tracklets(store, query, 20)[1].tracklet.tracklet_id
    result = judge(store, query, others=[other])
    assert result.matches[1].rejected_like == other and result.matches[0].rejected_like is None
    assert judge(store, query, others=[other], same=[other]).matches[1].rejected_like is None
