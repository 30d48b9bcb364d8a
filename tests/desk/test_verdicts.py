"""The user's verdicts over the API: said, taken back, counted, forgotten, and what they make."""

import csv
import io

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from clsa_search.gallery import open_store
from clsa_search.retrieval.gallery_calibration import calibrate_gallery
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.verdict_store import UserVerdict, say_verdicts
from tests.support.desk_cases import make_client
from tests.support.footage import BlockPredictor
from tests.support.old_galleries import change
from tests.support.photographs import WIDTH, add_person, add_photographs, unit

SOMEBODY = unit(np.array([4.0, -4.0] + [0.0] * (WIDTH - 2)))
QUERY = "random-name-of-a-query"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A calibrated gallery of photographs, two of them of somebody."""
    path = tmp_path_factory.mktemp("verdicts") / "street.db"
    with open_store(path, weights="w", create=True) as store:
        add_photographs(store, 300, camera="north")
        add_person(store, SOMEBODY, 2, camera="north")
        calibrate_gallery(store)
    return path


@pytest.fixture
def client(address):
    with GallerySearch(open_store(address), BlockPredictor()) as gallery:
        with make_client(gallery) as client:
            yield client
            client.delete("/api/v1/verdicts")


def call(client, method, path, status=200, **options):
    answer = client.request(method, f"/api/v1/{path}", **options)
    assert answer.status_code == status, answer.text
    return answer.json()


def say(client, words, query=QUERY, status=200):
    body = {"query": query, "verdicts": words}
    return call(client, "POST", "verdicts", status, json=body)


def search(client, **fields):
    (last, *_) = client.get("/api/v1/tracklets?offset=1201&limit=1").json()["tracklets"]
    return call(client, "POST", "search", json={"of": [{"tracklet": last["tracklet"]}], **fields})


def test_verdicts_are_counted_changed_and_forgotten(client):
    match, second, *_ = search(client)["matches"]
    word = {"tracklet": match["tracklet"], "said": "same", "z": match["z"]}
    counted = say(client, [word, {"tracklet": second["tracklet"], "said": "other", "z": 1.0}])
    expected = {"same": 1, "other": 1, "needed": 50, "missing_same": 49, "missing_other": 49}
    assert counted == {**expected, "unscored": 0}
    assert call(client, "GET", "verdicts") == call(client, "GET", "gallery")["verdicts"] == counted
    assert say(client, [{**word, "said": "other"}])["other"] == 2  # another mind
    assert say(client, [{**word, "said": None}])["other"] == 1
    assert say(client, [{**word, "z": None}])["unscored"] == 1
    answer = search(client)
    assert (answer["same_verdicts"], answer["other_verdicts"]) == (0, 1)
    assert say(client, [{**word, "tracklet": second["tracklet"]}], answer["id"])["same"] == 1
    assert call(client, "DELETE", "verdicts")["other"] == 0


def test_fifty_of_each_make_a_probability_everywhere(client):
    ids = [one["tracklet"] for one in call(client, "GET", "tracklets?limit=400")["tracklets"]]
    rng = np.random.default_rng(0)
    for said, center in (("same", 6.0), ("other", 2.0)):
        assert {one["probability"] for one in search(client)["matches"]} == {None}
        words = [
            {"tracklet": number, "said": said, "z": float(z)}
            for number, z in zip(ids, rng.normal(center, 1.0, 100), strict=False)
        ]
        say(client, words, f"name-of-{said}")
    answer = search(client, limit=4)
    chances = [one["probability"] for one in answer["matches"]]
    assert chances == sorted(chances, reverse=True) and chances[0] > 0.9 > chances[3]
    assert (answer["same_verdicts"], answer["other_verdicts"]) == (100, 100)
    of = [{"tracklet": answer["matches"][0]["tracklet"]}]
    request = {"tracklets": [of[0]["tracklet"]], "search": {"of": of}}
    table = client.post("/api/v1/exports", json=request).content.decode("utf-8-sig")
    (row, *_) = csv.DictReader(io.StringIO(table))
    assert float(row["probability"]) > 0.9
    other = answer["matches"][1]
    times = {"since": other["first"] - 1, "until": other["first"] + 1}
    rejected = search(client, others=[other["tracklet"]], **times)["matches"]
    assert {one["probability"] for one in rejected if one["rejected_like"]} == {None}


@pytest.mark.parametrize(
    ("query", "word", "status", "message"),
    [
        ("short", {}, 422, "query: 'short'; "),
        ("with a space", {}, 422, "query: 'with a space'; "),
        ("x" * 65, {}, 422, "query: 'xxx"),
        (
            QUERY,
            {"said": "perhaps"},
            422,
            "verdicts[0].said: 'perhaps'; expected 'same' or 'other'",
        ),
        (QUERY, {"tracklet": 0}, 422, "verdicts[0].tracklet: 0; "),
        (QUERY, {"tracklet": 10**6}, 404, "tracklet: there is no 1000000; "),
        (QUERY, {"z": "high"}, 422, "verdicts[0].z: 'high'; expected"),
        (QUERY, {"z": 1e9}, 422, "verdicts[0].z: 1000000000.0; expected less than"),
        (QUERY, {"embedding": [1.0]}, 422, "verdicts[0].embedding: "),
    ],
)
def test_a_wrong_verdict_names_its_field(client, query, word, status, message):
    words = [{"tracklet": 1, "said": "same"}, {"tracklet": 1, "said": "same", **word}][::-1]
    assert say(client, words, query, status)["error"]["message"].startswith(message)
    counted = call(client, "GET", "verdicts")
    assert counted["unscored"] == 0  # all or nothing


def test_a_request_has_a_bounded_number_of_verdicts(client):
    for words in ([], [{"tracklet": 1, "said": "same"}] * 1001):
        assert say(client, words, status=422)["error"]["field"] == "verdicts"


def test_damaged_notes_are_named_and_do_not_end_a_search(tmp_path):
    path = tmp_path / "street.db"
    with open_store(path, weights="w", create=True) as store:
        add_photographs(store, 100, camera="north")
        calibrate_gallery(store)
        say_verdicts(store, QUERY, [UserVerdict(1, "same", 9.0), UserVerdict(2, "other", 1.0)])
    with GallerySearch(open_store(path), BlockPredictor()) as gallery, make_client(gallery) as desk:
        body = {"of": [{"tracklet": 1}]}
        assert call(desk, "GET", "gallery")["problems"] == []
        assert call(desk, "POST", "search", json=body)["damage"] is None
    change(path, "UPDATE notes SET value = '{' WHERE detection = 1 OR kind = 'calibration'")
    with GallerySearch(open_store(path), BlockPredictor()) as gallery, make_client(gallery) as desk:
        first, second = call(desk, "GET", "gallery")["problems"]
        assert f"its calibration is damaged; expected `clsa-search calibrate {path}`" in first
        assert f"1 verdict is damaged and left out: `clsa-search repair {path}`" in second
        answer = call(desk, "POST", "search", json=body)
        assert not answer["calibrated"] and answer["matches"][0]["detection"] == 1
        assert (answer["reason"], answer["damage"]) == (first, second)
        assert call(desk, "GET", "verdicts")["other"] == 1
