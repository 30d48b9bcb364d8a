"""clsa-search verdict: stored, counted, forgotten, and files that do not fit."""

import copy
import csv
import io
import json
import os
import shutil
from pathlib import Path

from clsa_search.gallery import open_store
from tests.support.footage import write_image
from tests.support.sighting_cases import find_sighting


def test_many_people_are_searched_at_once(run, gallery, tmp_path):
    write_image(tmp_path / "people" / "=red.png", {3: 10})
    write_image(tmp_path / "people" / "Bob" / "front.png", {0: 10})
    write_image(tmp_path / "people" / "Bob" / "side.png", {0: 60})
    write_image(tmp_path / "people" / "pair.png", {0: 10, 3: 60})
    shutil.copy(tmp_path / "people" / "=red.png", os.fsencode(tmp_path / "people") + b"/Z\xff.png")
    words = "query", "--store", gallery, "--people", "people", "--csv", "out/all.csv", "--top", 4
    printed = run(*words, status=1)
    assert "pair.png: 2 detections; expected an image of one person" in printed
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/all.csv").read_text("utf-8-sig"))))
    assert [row["query"] for row in rows] == ["'=red"] * 4 + ["Bob"] * 4 + ["Z?"] * 4
    assert [float(row["similarity"]) > 0.99 for row in rows] == [True] * 2 + [False] * 2 + [
        True,
        *[False] * 3,
        *[True] * 2,
        *[False] * 2,
    ]
    assert rows[4]["camera"] == "south" and rows[4]["last"] == "2026-05-01T00:00:03.000+00:00"
    with open_store(gallery) as store:
        assert int(rows[4]["sighting"]) == find_sighting(store, 0).tracklet_id
    assert "expected one or more --image" in run(*words, "--id", 1, status=2)
    assert "none: No such file" in run(*words[:3], "--people", "none", status=2)


def search_all(run, gallery, folder, *options):
    """Search for red; return the matches by the id of their sighting."""
    run("query", "--store", gallery, "--image", "red.png", "--output-dir", folder, *options)
    (query,) = json.loads(Path(folder, "results.json").read_text())["queries"]
    return {one["tracklet"]: one for one in query["matches"]}


def test_verdicts_are_said_of_a_query_counted_and_forgotten(run, gallery, tmp_path):
    write_image(tmp_path / "red.png", {3: 10})
    found = search_all(run, gallery, "first")
    first, second, third, *_ = found
    said = "verdict", gallery, "--query", "first/results.json"
    printed = run(*said, "--same", found[first]["detection"], second, "--other", third)
    assert "street.db: 0 same, 0 somebody else\n3 verdicts more in searches that" in printed
    assert "no probability yet: 50 same and 50 somebody else more are needed" in printed
    assert "2 verdicts more" in run(*said, "--take-back", second)
    assert "2 verdicts more" in run(*said, "--other", first)  # another mind
    run("export", gallery, "said.csv", "--results", "first/results.json")
    rows = csv.DictReader(io.StringIO((tmp_path / "said.csv").read_text("utf-8-sig")))
    assert {int(row["sighting"]): row["said"] for row in rows if row["said"]} == {
        first: "other",
        third: "other",
    }
    assert "2 verdicts more" in run("verdict", gallery)
    assert "2 verdicts forgotten" in run("verdict", gallery, "--forget")
    assert "verdicts more" not in run("verdict", gallery)


def test_a_search_counts_the_verdicts_of_an_earlier_one(run, gallery, tmp_path):
    write_image(tmp_path / "red.png", {3: 10})
    first, second, *_ = search_all(run, gallery, "first")
    run("verdict", gallery, "--query", "first/results.json", "--other", first)
    found = search_all(run, gallery, "again", "--verdicts", "first/results.json")
    rejected = [one for one, match in found.items() if match["rejected_like"] == first]
    assert first in rejected and list(found)[-len(rejected) :] == rejected  # near copies too
    run("verdict", gallery, "--query", "again/results.json", "--same", first)  # another mind
    found = search_all(run, gallery, "third", "--verdicts", "again/results.json")
    assert {match["rejected_like"] for match in found.values()} == {None}
    words = "query", "--store", gallery, "--image", "red.png", "--verdicts"
    assert "one person; expected it with" in run(*words, "x.json", "--per", "image", status=2)
    assert "x.json: not a readable JSON file" in run(*words, "x.json", status=2)
    (tmp_path / "old.json").write_text('{"queries": [{"matches": []}]}')
    assert "id: is missing; expected a results.json of" in run(*words, "old.json", status=2)


def test_verdicts_of_a_file_that_does_not_fit_are_refused(run, gallery, tmp_path):
    write_image(tmp_path / "red.png", {3: 10})
    (number, *_) = search_all(run, gallery, "first")
    said = "verdict", gallery, "--query", "first/results.json"
    for words, message in [
        ((*said, "--same", 10**6), "1000000 is no match of this query; expected an id of it"),
        ((*said, "--same", number, "--other", number), f"{number}: has two verdicts; expected one"),
        (said, "--query: is given without --same, --other, --take-back; expected one"),
        (("verdict", gallery, "--same", number), "--query: is missing; expected the results.json"),
        ((*said, "--same", number, "--forget"), "--forget: is given with verdicts"),
        ((*said, "--same", number, "--number", 2), "--number: 2; expected 1 to 1"),
        (("verdict", "none.db"), "none.db"),
    ]:
        assert message in run(*words, status=2)
    record = json.loads((tmp_path / "first" / "results.json").read_text())
    for change, message in [
        (lambda query: query["matches"][0].update(box=[1, 2, 3, 4]), "is another one in"),
        (lambda query: query["matches"][0].update(tracklet=None), "has no sightings to judge"),
        (lambda query: query.pop("id"), "id: is missing; expected a results.json of"),
        (lambda query: query.update(id="a b"), "query: 'a b'; expected 8 to 64 letters"),
        (lambda query: query["matches"][0].update(z="high"), "match 1: z: 'high'; expected a"),
    ]:
        changed = copy.deepcopy(record)
        change(changed["queries"][0])
        (tmp_path / "changed.json").write_text(json.dumps(changed))
        words = "verdict", gallery, "--query", "changed.json", "--same", number
        assert message in run(*words, status=2)
    (tmp_path / "two.json").write_text(json.dumps({"queries": record["queries"] * 2}))
    words = "verdict", gallery, "--query", "two.json", "--same", number
    assert "has 2 queries; expected --number" in run(*words, status=2)
    assert "1 verdict more" in run(*words, "--number", 2)
    (tmp_path / "list.json").write_text("[1]")
    assert "is no results.json" in run(*words[:3], "list.json", *words[4:], status=2)
