"""One shape for the answer to a search: the API, `query --json` and results.json."""

import json
import re

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from pydantic import TypeAdapter, ValidationError

from clsa_search.commands import search_gallery
from clsa_search.retrieval.predictor import PersonSearchPredictor
from clsa_search.retrieval.search_answers import SearchAnswer
from tests.support.desk_cases import make_client, make_gallery
from tests.support.footage import BlockPredictor

SHAPE = TypeAdapter(SearchAnswer)


@pytest.fixture
def answers(tmp_path, monkeypatch, capsys):
    """Answers to one search: of the API, of the command, and of its results.json."""

    def ask(per, word, **fields):
        with make_gallery(tmp_path, 1_777_000_000.0) as gallery, make_client(gallery) as client:
            request = {"of": [{"detection": 4}], "per": per, "limit": 10, **fields}
            answer = client.post("/api/v1/search", json=request)
            assert answer.status_code == 200, answer.text
            described = client.get("/api/openapi.json").json()["components"]["schemas"]
        monkeypatch.setattr(PersonSearchPredictor, "load", lambda *_, **options: BlockPredictor())
        weights = tmp_path / "weights.pth"
        weights.touch()
        words = ["query", "--store", str(tmp_path / "gallery.db"), "--weights", str(weights)]
        words += ["--id", "4", "--per", word, "--json", "--output-dir", str(tmp_path / "out")]
        capsys.readouterr()
        search_gallery.main(words)
        printed = json.loads(capsys.readouterr().out)
        written = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
        assert written == printed
        return answer.json(), printed["queries"][0], described

    return ask


@pytest.mark.parametrize(
    ("per", "word"), [("tracklet", "sighting"), ("image", "image"), ("match", "match")]
)
def test_the_command_and_the_api_answer_alike(answers, per, word):
    of_api, of_command, described = answers(per, word)
    for answer in (of_api, of_command):
        SHAPE.validate_json(json.dumps(answer), strict=True)
        assert set(answer) == set(described["SearchAnswer"]["properties"])
        for match in answer["matches"]:
            assert set(match) == set(described["MatchAnswer"]["properties"])
    own = {"id", "title", "query_images"}  # random; the page has the images of the query already
    assert {name: value for name, value in of_api.items() if name not in own} == {
        name: value for name, value in of_command.items() if name not in own
    }
    assert of_api["searched"] == (5 if per == "tracklet" else 9) and len(of_api["matches"]) > 4


def test_the_description_is_made_from_the_shape(answers):
    _, _, described = answers("tracklet", "sighting")
    shape = SHAPE.json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    parts = shape.pop("$defs") | {"SearchAnswer": shape}
    assert set(parts) == {"SearchAnswer", "MatchAnswer", "QueryImageAnswer"}
    for name, part in parts.items():
        for field in part["properties"].values():
            if field.get("default", 0) is None:
                del field["default"]  # FastAPI leaves these out
        assert described[name] == part
    assert not described["MatchAnswer"]["additionalProperties"]


def test_another_shape_is_refused(answers):
    answer, _, _ = answers("tracklet", "sighting")
    with pytest.raises(ValidationError, match=re.compile("extra|unexpected", re.I)):
        SHAPE.validate_python({**answer, "more": 1})
    del answer["matches"][0]["expected_strangers"]
    SHAPE.validate_python(answer)  # has a default
    del answer["matches"][0]["box"]
    with pytest.raises(ValidationError, match="box"):
        SHAPE.validate_python(answer)
