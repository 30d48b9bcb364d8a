"""clsa-search: a watch list from the first clip to its end, and many people at once."""

import csv
import io
import json
import os
import re
import signal
import sys
import time

import numpy as np
import pytest

from clsa_search.gallery import open_store
from clsa_search.retrieval.predictor import PersonSearchPredictor
from tests.support.coded_footage import SLOTS, CodedPredictor, write_clip, write_person
from tests.support.sighting_cases import DAY
from tests.support.tiny import load_tool

CAMERAS = "east", "north", "south", "west"
ANN, BOB, CLEO = 1, 2, 3  # Cleo never comes
INDEX = (
    *("index", "--weights", "weights.pth", "--store", "street.db", "--camera-from", "folder"),
    *("--time-from", "name:%Y%m%dT%H%M%S", "--timezone", "UTC", "--false-alarms", 0.1),
)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command beside the footage of four cameras; return what it prints."""
    tool = load_tool("search_gallery")
    monkeypatch.setattr(PersonSearchPredictor, "load", lambda *args, **options: CodedPredictor())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").touch()
    for name, person in (("Ann", ANN), ("Bob", BOB), ("Cleo", CLEO)):
        for view in ("front", "side"):
            write_person(tmp_path / "people" / name / f"{view}.png", person)
    rng = np.random.default_rng(0)
    for number in range(100):
        people = rng.choice(np.arange(10, 120), SLOTS, replace=False).tolist()
        write_clip(tmp_path / "cameras" / CAMERAS[number % 4], DAY + 600 * number, people)

    def run(*words, status=None):
        try:
            tool.main([str(word) for word in words])
        except SystemExit as stop:
            assert stop.code == status
        return capsys.readouterr().out

    return run


def read_hits(printed):
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return [(one["person"], one["camera"], one["first"][:19]) for one in lines]


def record(tmp_path, camera, seconds, people):
    return write_clip(tmp_path / "cameras" / camera, DAY + 86_400 + seconds, people)


def test_a_watch_list_from_begin_to_end(run, tmp_path, monkeypatch):
    assert "street.db: calibrated by " in run(*INDEX, "cameras")
    for name in ("Ann", "Bob", "Cleo"):
        printed = run("people", "add", "street.db", name, f"people/{name}", "--until", "2036-01-01")
        assert f"{name}: 2 images" in printed
    assert read_hits(run(*INDEX, "cameras")) == []  # only new sightings count

    record(tmp_path, "north", 0, [40, ANN, None, 50])
    record(tmp_path, "north", 3, [41, ANN, None, 51])  # she walks on in the next clip
    record(tmp_path, "south", 3600, [None, ANN, 42, 52])
    record(tmp_path, "west", 60, [BOB, 43, 44, None])
    (tmp_path / "hook.py").write_text("import sys; open('hits', 'a').write(sys.stdin.read())")
    hook = "--hook", f"{sys.executable} hook.py"
    printed = run(*INDEX, *hook, "cameras")
    expected = [
        ("Ann", "north", "2026-05-02T00:00:00"),
        ("Ann", "south", "2026-05-02T01:00:00"),
        ("Bob", "west", "2026-05-02T00:01:00"),
    ]
    assert sorted(read_hits(printed)) == expected
    assert sorted(read_hits((tmp_path / "hits").read_text())) == expected
    assert read_hits(run(*INDEX, *hook, "cameras")) == []
    assert "2 sightings of Ann" in run("people", "hits", "street.db", "Ann").replace("3 s", "2 s")

    record(tmp_path, "east", 7200, [ANN, None, 45, 46])
    printed = run(*INDEX, "--hook", f"{sys.executable} none.py", "cameras", status=1)
    assert "problem: hook" in printed and read_hits(printed) == []
    assert read_hits(run(*INDEX, "cameras")) == [("Ann", "east", "2026-05-02T02:00:00")]

    record(tmp_path, "east", 7800, [ANN, None, 45, 46])
    zero = [0 if word == 0.1 else word for word in INDEX]
    assert "watch list: nothing can be reported" in run(*zero, "cameras")
    later = time.mktime((2036, 2, 1, 0, 0, 0, 0, 0, 0))
    record(tmp_path, "south", 9000, [ANN, BOB, None, 46])
    monkeypatch.setattr(time, "time", lambda: later)
    assert read_hits(run(*INDEX, "cameras")) == []
    assert "(ended)" in run("people", "list", "street.db")


def test_hits_come_while_a_folder_is_watched(run, tmp_path, monkeypatch):
    run(*INDEX, "cameras")
    run("people", "add", "street.db", "Ann", "people/Ann")
    steps = iter([lambda: record(tmp_path, "north", 0, [40, ANN, None, 50]), None, None])

    def sleep(seconds):
        step = next(steps, lambda: os.kill(os.getpid(), signal.SIGTERM))
        if step is not None:
            step()
        for path in (tmp_path / "cameras").rglob("*.avi"):
            os.utime(path, (1000, 1000))

    for path in (tmp_path / "cameras").rglob("*.avi"):
        os.utime(path, (1000, 1000))
    run(*INDEX, "cameras")  # their time has changed
    monkeypatch.setattr(time, "sleep", sleep)
    printed = run(*INDEX, "--watch", 5, "cameras", status=0)
    assert read_hits(printed) == [("Ann", "north", "2026-05-02T00:00:00")]


def test_a_list_without_a_calibration_says_so(run, tmp_path):
    assert "not calibrated" in run(*INDEX, "cameras/north")
    run("people", "add", "street.db", "Ann", "people/Ann")
    record(tmp_path, "north", 0, [40, ANN, None, 50])
    printed = run(*INDEX, "cameras/north")
    assert "watch list: not compared, the gallery is not calibrated: " in printed
    assert "pairs of certain strangers" in printed


def test_many_people_are_searched_with_their_chances(run, tmp_path):
    record(tmp_path, "north", 0, [40, ANN, None, 50])
    record(tmp_path, "south", 3600, [BOB, ANN, None, 50])
    run(*INDEX, "cameras")
    words = "query", "--store", "street.db", "--people", "people", "--csv", "all.csv", "--top", 3
    printed = run(*words)
    summaries = re.findall(r"(.+) of these 406 sightings stands? out", printed)
    ann, bob = (int(one) for one in summaries[:2])
    assert ann >= 2 and bob >= 1
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text("utf-8-sig"))))
    assert [row["query"] for row in rows] == ["Ann"] * 3 + ["Bob"] * 3 + ["Cleo"] * 3
    found = [row["verdict"] == "very likely" for row in rows]
    assert found == [True, True, False, True, *[False] * 5]
    assert {row["camera"] for row in rows[:2]} == {"north", "south"}
    assert rows[3]["first"] == "2026-05-02T01:00:00.000+00:00"
    assert float(rows[6]["expected_strangers"]) > 0.01
    with open_store("street.db") as store:
        assert store.count_tracklets() == 406
