"""Search for sightings, ranked and judged by the strangers that would look as alike."""

import json

import numpy as np
import pytest

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, open_store
from clsa_search.retrieval.gallery_calibration import calibrate_gallery
from clsa_search.retrieval.match_judge import MatchJudge
from clsa_search.retrieval.results import QueryResult, format_results
from clsa_search.retrieval.search_answers import results_as_text
from clsa_search.retrieval.sighting_search import SightingChoice, search_sightings
from tests.support.photographs import WIDTH, add_person, add_photographs, unit

SOMEBODY = unit(np.array([4.0, -4.0] + [0.0] * (WIDTH - 2)))


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "street.db", weights="w", create=True) as opened:
        add_photographs(opened, 300, camera="north")
        yield opened


def search(store, k=5, where=None, choice=None, embedding=SOMEBODY):
    return search_sightings(store, MatchJudge(store), embedding, k, where, choice)


def test_a_person_stands_out(store):
    ids = add_person(store, SOMEBODY, 2, camera="north")
    calibrate_gallery(store)
    matches, answer = search(store)
    assert {one.detection.detection_id for one in matches[:2]} == set(ids)
    assert (answer.searched, answer.calibrated, answer.nobody) == (1202, True, False)
    assert [one.verdict for one in answer.matches[:2]] == ["very likely"] * 2
    counts = [one.expected_strangers for one in answer.matches]
    assert counts == sorted(counts) and counts[2] > 0.05
    scores = [one.z for one in answer.matches]
    assert scores == sorted(scores, reverse=True)


def test_nobody_stands_out(store):
    calibrate_gallery(store)
    best = []
    rng = np.random.default_rng(5)
    base = np.random.default_rng(9).standard_normal(WIDTH)
    for _ in range(100):
        _, answer = search(store, embedding=unit(base + rng.standard_normal(WIDTH)))
        assert answer.nobody == (answer.matches[0].expected_strangers >= 1)
        best.append(answer.matches[0].expected_strangers)
    # one search of ten has a stranger that at most 0.1 are expected to reach
    assert np.mean(np.array(best) <= 0.105) < 0.25
    assert np.mean(np.array(best) <= 1) > 0.3


def test_fewer_sightings_make_a_likeness_mean_more(store):
    add_photographs(store, 300, camera="south", seed=1)
    calibrate_gallery(store)
    _, everywhere = search(store)
    matches, north = search(store, where=Filter(cameras=["north"]))
    assert (everywhere.searched, north.searched) == (2400, 1200)
    known = {one.z: one.expected_strangers for one in everywhere.matches}
    (shared, *_) = [one for one in north.matches if one.z in known]
    assert shared.expected_strangers == pytest.approx(known[shared.z] / 2)


def test_on_one_camera_the_first_are_those_of_all(store):
    add_photographs(store, 300, camera="south", seed=1)
    calibrate_gallery(store)
    north = Filter(cameras=["north"])
    few, judged = search(store, k=5, where=north)
    many, all_judged = search(store, k=1200, where=north)
    ids = [one.detection.detection_id for one in many]
    assert len(ids) == 1200 and [one.detection.detection_id for one in few] == ids[:5]
    assert list(judged.matches) == list(all_judged.matches[:5])


def test_without_calibration_there_are_ranks_only(store):
    matches, answer = search(store)
    assert (answer.calibrated, answer.nobody, len(matches)) == (False, None, 5)
    assert "has not run" in answer.reason
    similarities = [one.similarity for one in matches]
    assert similarities == sorted(similarities, reverse=True)
    with pytest.raises(InputError, match="is not calibrated: `clsa-search calibrate"):
        search(store, choice=SightingChoice(max_strangers=1))


def test_the_user_bounds_the_strangers(store):
    add_person(store, SOMEBODY, 2, camera="north")
    calibrate_gallery(store)
    matches, answer = search(store, choice=SightingChoice(max_strangers=0.01))
    assert len(matches) == len(answer.matches) == 2
    nothing, empty = search(store, choice=SightingChoice(max_strangers=0))
    assert nothing == [] and empty.nobody


def test_near_copies_of_somebody_else_come_last(store):
    ids = add_person(store, SOMEBODY, 3, camera="north")
    calibrate_gallery(store)
    query = unit(SOMEBODY + 0.5 * unit(np.arange(WIDTH) % 3 - 1.0))
    _, before = search(store, embedding=query)
    assert not before.nobody
    matches, after = search(store, k=3, embedding=query, choice=SightingChoice(others=ids[:1]))
    assert not {one.detection.detection_id for one in matches} & set(ids)
    every, judged = search(store, k=1203, embedding=query, choice=SightingChoice(others=ids[:1]))
    assert {one.detection.detection_id for one in every[-3:]} == set(ids)
    assert {one.rejected_like for one in judged.matches[-3:]} == set(ids[:1])
    deleted = SightingChoice(others=[10**6, ids[0]], same=[10**6])
    _, same = search(store, k=1203, embedding=query, choice=deleted)
    assert same == judged


@pytest.mark.parametrize("calibrated", [False, True])
def test_an_empty_choice_is_an_answer(store, calibrated):
    if calibrated:
        calibrate_gallery(store)
    matches, answer = search(store, where=Filter(cameras=["nowhere"]))
    assert matches == [] and answer.searched == 0
    summary = QueryResult("q", [], matches, answer=answer).summary
    assert summary.startswith("There is no sighting to search: none is stored, or none passes")


def test_table_and_json_state_the_strangers(store):
    add_person(store, SOMEBODY, 1, camera="north")
    calibrate_gallery(store)
    matches, answer = search(store, k=1)
    result = QueryResult("query", [], matches, answer=answer)
    table = format_results([result])
    assert table.splitlines()[1].endswith("of these 1,201 sightings stands out.")
    assert "strangers  verdict" in table and "very likely" in table
    (query,) = json.loads(results_as_text([result]))["queries"]
    assert (query["searched"], query["calibrated"], query["nobody"]) == (1201, True, False)
    first = query["matches"][0]
    assert first["verdict"] == "very likely" and first["expected_strangers"] < 0.01
    assert first["z"] > 4
