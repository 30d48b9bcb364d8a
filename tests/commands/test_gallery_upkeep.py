"""clsa-search: times and cameras, deletion, retention, exports, the watch list, watched folders."""

import copy
import csv
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from clsa_search.gallery import open_store
from clsa_search.retrieval.predictor import PersonSearchPredictor
from clsa_search.retrieval.watch_list import add_person, judge_sighting, list_people
from tests.support.footage import BlockPredictor, write_image, write_video
from tests.support.sighting_cases import DAY, find_sighting, write_footage
from tests.support.tiny import load_tool
from tests.support.tracklet_cases import link_by

INDEX = "index", "--weights", "weights.pth", "--store", "street.db"


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command in a folder with footage, with blocks as people; return what it prints."""
    tool = load_tool("search_gallery")
    monkeypatch.setattr(PersonSearchPredictor, "load", lambda *args, **options: BlockPredictor())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").touch()
    write_footage(tmp_path / "footage")

    def run(*words, status=None):
        if status is None:
            tool.main([str(word) for word in words])
        else:
            with pytest.raises(SystemExit) as stop:
                tool.main([str(word) for word in words])
            assert stop.value.code == status
        printed = capsys.readouterr()
        return printed.out + (printed.err.splitlines()[-1] if status == 2 else "")

    return run


@pytest.fixture
def gallery(run):
    run(*INDEX, "--camera-from", "folder", "--start-time", "2026-05-01T00:00:00Z", "footage")
    with open_store("street.db") as store:
        for path in store.unlinked():
            link_by(store, path, lambda one: int(one.embedding.argmax()))
    return "street.db"


def list_times(run):
    """Return camera, start and origin of each file of `list`."""
    with open_store("street.db") as store:
        return {
            os.path.basename(one.path): (one.camera, one.start, one.start_from)
            for one in store.sources()
        }


def test_times_and_cameras_come_from_names(run, tmp_path):
    write_video(tmp_path / "clips" / "cam7_20260501_120000.avi", [{3: i} for i in range(10)])
    write_video(tmp_path / "clips" / "cam7.avi", [{3: i} for i in range(10)])
    rules = ["--time-from", "name:%Y%m%d_%H%M%S", "--timezone", "UTC"]
    printed = run(*INDEX, *rules, "--camera-from", "name:^cam[0-9]+", "clips", status=1)
    assert "problem: " in printed and "'cam7' does not match '%Y%m%d_%H%M%S'" in printed
    assert list_times(run) == {"cam7_20260501_120000.avi": ("cam7", DAY + 12 * 3600, "name")}
    listed = run("list", "street.db")
    assert "cam7" in listed and "name" in listed and "2026-05-01" in listed


def test_files_are_retimed_without_a_model(run, gallery, monkeypatch):
    monkeypatch.setattr(PersonSearchPredictor, "load", None)
    printed = run("retime", gallery, "footage/north", "--shift", -60, "--camera", "yard")
    assert "street.db: 1 file changed, 0 as wanted already, 0 left as before" in printed
    assert list_times(run)["a.avi"] == ("yard", DAY - 60, "given")
    words = "--start", "2026-05-01T02:30", "--timezone", "Asia/Tokyo"
    run("retime", gallery, "footage/north", *words)
    assert list_times(run)["a.avi"] == ("yard", DAY - 6.5 * 3600, "given")
    assert "without time-from or a start" in run("retime", gallery, "footage", *words[2:], status=2)
    printed = run("retime", gallery, "footage", "--time-from", "name:%Y%m%d", status=1)
    assert "a.avi: has no start time: name: 'a' does not match" in printed


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["retime", "street.db", "footage"], "nothing to change"),
        (["retime", "street.db", "none.avi", "--camera", "a"], "none.avi: is not indexed"),
        (["retime", "street.db", "footage", "--start", "noon"], "time: 'noon'"),
        ([*INDEX, "--time-from", "exif,birth", "footage"], "'exif,birth'"),
        ([*INDEX, "--time-from", "exif", "--start-time", "5", "footage"], "is given with"),
        ([*INDEX, "--camera", " ", "footage"], "camera: ' ' is empty; expected a name"),
        ([*INDEX, "--watch", "0", "footage"], "--watch: '0'; expected a number"),
        (["delete", "street.db"], "nothing is chosen"),
        (["delete", "street.db", "--camera", "east"], "camera east is not indexed"),
        (["delete", "street.db", "--person", "Ann"], "'Ann' is not on the watch list"),
        (["retention", "street.db", "north=soon"], "expected CAMERA=DAYS"),
        (["export", "street.db", "a.zip", "--kind", "csv"], "expected a name with .csv"),
        (["export", "street.db", "a.csv", "--timezone", "Mars"], "timezone: 'Mars' is unknown"),
        (["export", "street.db", "a.csv", "--since", "noon"], "time: 'noon'; expected seconds"),
        (["export", "street.db", "a.csv", "--until", "0:30"], "is a time within a video"),
        (["export", "street.db", "street.db", "--kind", "csv"], "expected a name with .csv"),
        (["query", "--store", "street.db", "--id", "1", "--csv", "street.db"], "is a gallery"),
        (["people", "remove", "street.db", "Ann"], "'Ann' is not on the watch list"),
        (["people", "add", "street.db", "Ann", "footage/north/a.avi"], "no image can be used"),
        (["people", "add", "street.db", "a\nb", "footage/south/photo.png"], "of one line"),
        (["people", "add", "street.db", "a" * 201, "footage/south/photo.png"], "at most 200 "),
        (
            ["people", "add", "street.db", "Ann", "footage/south", "--until", "2020-01-01"],
            "until: 2020-01-01 00:00:00",
        ),
        ([*INDEX, "--hook", "a 'b", "footage"], 'hook: "a \'b"'),
    ],
)
def test_wrong_arguments_are_named(run, gallery, words, reason):
    assert reason in run(*words, status=2)


def test_a_camera_is_counted_and_then_deleted(run, gallery):
    words = "delete", gallery, "--camera", "north", "--before", "2026-06-01"
    printed = run(*words)
    assert "street.db: 2 sightings, 8 of 17 detections in 1 file, from 2026-0" in printed
    assert "nothing is deleted without --yes; the footage itself stays" in printed
    assert "8 detections deleted; the footage itself stays" in run(*words, "--yes", "--audit")
    with open_store(gallery) as store:
        assert store.count() == 9
    assert "delete  cameras, before" in run("list", gallery, "--audit")


def test_bytes_that_stay_are_named_until_they_are_gone(run, gallery, tmp_path):
    other = sqlite3.connect(tmp_path / gallery)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM detections").fetchone()
    left = "note: street.db-wal: still holds what was deleted"
    assert left in run("delete", gallery, "--camera", "north", "--yes")
    assert left in run("scrub", gallery, status=1)
    (tmp_path / "footage/south/b.avi").unlink()
    assert left in run("prune", gallery, "--yes", "--force")
    other.close()
    assert "street.db: holds nothing of what was deleted" in run("scrub", gallery, "--vacuum")
    assert not (tmp_path / "street.db-wal").exists()


def test_pruned_people_leave_the_watch_list(run, gallery, tmp_path):
    with open_store(gallery) as store:
        sighting = find_sighting(store, 3, "a.avi")
        add_person(store, "Ann", sighting.embedding[None])
    (tmp_path / "footage/north/a.avi").unlink()
    assert "a.avi: 8 detections deleted" in run("prune", gallery, "--yes")
    with open_store(gallery) as store:
        assert [len(one.examples) for one in list_people(store)] == [0]


def test_days_by_camera_are_kept_and_applied(run, gallery):
    printed = run("retention", gallery, "north=7", "*=100000")
    assert "north: 7 days" in printed and "2 sightings with 8 detections too old" in printed
    assert "1 sighting without a date: kept" in printed
    assert "nroth: has no sightings yet" in run("retention", gallery, "nroth=7")
    assert "nroth" not in run("retention", gallery, "nroth=off")
    options = ["--camera-from", "folder", "--start-time", "2026-05-01T00:00:00Z"]
    assert "2 old sightings deleted" in run(*INDEX, *options, "footage")
    assert "0 sightings" in run("retention", gallery, "--yes")


def test_sightings_are_exported(run, gallery, tmp_path):
    with open_store(gallery) as store:
        sighting = find_sighting(store, 3, "a.avi")
    printed = run("export", gallery, "out/a.csv", "--camera", "north", "--timezone", "Asia/Tokyo")
    assert "out/a.csv: 2 sightings, 0 parts missing" in printed
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/a.csv").read_text("utf-8-sig"))))
    assert {row["first"] for row in rows} == {"2026-05-01T09:00:00.000+09:00"}
    day = "--camera", "north", "--until", "2026-05-01T09:00", "--since", "2026-05-01T09:00"
    printed = run("export", gallery, "out/a.csv", *day, "--timezone", "Asia/Tokyo")
    assert "out/a.csv: 2 sightings" in printed
    printed = run("export", gallery, "out/b.csv", *day, "--timezone", "UTC")
    assert "out/b.csv: 0 sightings" in printed
    run("export", gallery, "case.zip", "--sighting", sighting.tracklet_id, "--title", "Case 1")
    with zipfile.ZipFile("case.zip") as archive:
        case = json.loads(archive.read("case.json"))
    assert (case["title"], len(case["sightings"])) == ("Case 1", 1)
    (tmp_path / "footage/north/a.avi").unlink()
    printed = run("export", gallery, "crops.zip", "--kind", "crops", status=1)
    assert "missing: crop " in printed and "2 parts missing" in printed


def test_a_search_becomes_a_case(run, gallery):
    run("query", "--store", gallery, "--image", "footage/south/photo.png", "--output-dir", "found")
    run("export", gallery, "case.zip", "--results", "found/results.json", "--camera", "south")
    with zipfile.ZipFile("case.zip") as archive:
        case = json.loads(archive.read("case.json"))
    assert [one["camera"] for one in case["sightings"]] == ["south"] * 3
    assert case["sightings"][0]["similarity"] == pytest.approx(1)
    assert case["filters"]["cameras"] == ["south"]


def test_people_are_added_listed_and_forgotten(run, gallery, tmp_path):
    write_image(tmp_path / "ann.png", {3: 10})
    write_image(tmp_path / "two.png", {0: 10, 3: 60})
    words = "people", "add", gallery, "Ann", "ann.png", "two.png", "--until", "2036-01-01"
    printed = run(*words, status=1)
    assert "two.png: 2 detections; expected an image of one person" in printed
    assert "Ann: 1 image" in printed
    assert "no sighting is reported before `clsa-search calibrate street.db`" in printed
    listed = run("people", "list", gallery)
    assert "Ann" in listed and "2036-01-01" in listed
    assert "0 sightings of Ann" in run("people", "hits", gallery, "Ann")
    assert "Ann is forgotten" in run("people", "remove", gallery, "Ann")
    assert "Ann" not in run("people", "list", gallery)


def test_the_sightings_of_a_person_are_erased(run, gallery, tmp_path):
    write_image(tmp_path / "ann.png", {3: 10})
    run("people", "add", gallery, "Ann", "ann.png", "--past")
    with open_store(gallery) as store:
        for file in ("a.avi", "b.avi"):
            judge_sighting(store, "Ann", find_sighting(store, 3, file).tracklet_id, "same")
    words = "delete", gallery, "--person", "Ann"
    assert "2 sightings, 8 of 17 detections in 2 files" in run(*words)
    assert "8 detections deleted" in run(*words, "--yes", "--vacuum")
    assert "'Ann' is not on the watch list" in run(*words, status=2)
    disk = (tmp_path / gallery).read_bytes()
    assert b"Ann" not in disk
    for path in (tmp_path / "footage").rglob("*.avi"):
        os.utime(path, ns=(1, 1))
    run(*INDEX, "--camera-from", "folder", "footage")
    with open_store(gallery) as store:
        assert {int(one.embedding.argmax()) for one in store.list()} == {0, 1, 2}


def test_a_person_is_kept_where_the_deletion_is_refused(run, gallery, tmp_path):
    write_image(tmp_path / "ann.png", {3: 10})
    run("people", "add", gallery, "Ann", "ann.png")
    with open_store(gallery) as store:
        for one in store.tracklets():
            judge_sighting(store, "Ann", one.tracklet_id, "same")
    words = "delete", gallery, "--person", "Ann", "--yes"
    assert "more than half; expected --force" in run(*words, status=2)
    assert "5 sightings of Ann" in run("people", "hits", gallery, "Ann")


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


@pytest.fixture
def scans(monkeypatch):
    """Run a function between scans of a watched folder, then end the process by a signal."""
    # a process that a shell started in the background ignores it
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)

    def scans(*steps, end=signal.SIGTERM):
        left = list(steps)

        def sleep(seconds):
            if left:
                left.pop(0)()
            else:
                os.kill(os.getpid(), end)

        monkeypatch.setattr(time, "sleep", sleep)

    yield scans
    signal.signal(signal.SIGINT, previous)


def age(*paths):
    for path in paths:
        os.utime(path, (1000, 1000))


def nothing():
    pass


def test_a_watched_folder_is_indexed_as_files_settle(run, tmp_path, scans):
    folder = tmp_path / "cameras" / "north"
    folder.mkdir(parents=True)
    counts = []

    def count():
        with open_store("street.db") as store:
            counts.append(store.count())

    def record(name):
        age(write_video(folder / name, [{3: i} for i in range(10)]))

    scans(lambda: record("a.avi"), nothing, count, lambda: record("b.avi"), nothing, count)
    printed = run(*INDEX, "--watch", 5, "--camera-from", "folder", "cameras")
    assert counts == [1, 2]
    lines = [line for line in printed.splitlines() if "added" in line]
    assert len(lines) == 2 and "1 detection in 1 image added; 0 files waiting, 0 failed" in lines[0]
    assert printed.splitlines()[-1] == "ended: stored frames are kept, the same command continues"
    with open_store("street.db") as store:
        assert store.cameras() == ["north"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg on PATH")
def test_segments_of_a_recorder_are_indexed(run, tmp_path, scans):
    write_video(tmp_path / "in.avi", [{3: i} for i in range(30)], fps=10)
    folder = tmp_path / "cameras" / "north"
    folder.mkdir(parents=True)
    words = "ffmpeg -nostdin -loglevel error -re -i in.avi -c copy -f segment -segment_time 1"
    words += " -reset_timestamps 1 -strftime 1 cameras/north/%Y%m%dT%H%M%S.avi"
    subprocess.run(words.split(), check=True, env={**os.environ, "TZ": "UTC"})
    age(*folder.iterdir())
    scans(nothing)
    rules = "--camera-from", "folder", "--time-from", "name:%Y%m%dT%H%M%S", "--timezone", "UTC"
    run(*INDEX, "--watch", 1, *rules, "cameras")
    with open_store("street.db") as store:
        sources = store.sources()
        assert len(sources) >= 2
        assert all((one.camera, one.start_from) == ("north", "name") for one in sources)
        assert max(one.start for one in sources) - min(one.start for one in sources) <= 4
        assert store.count() >= 2


def test_failed_files_are_problem_lines_and_the_rest_goes_on(run, tmp_path, scans):
    cut = tmp_path / "footage" / "cut.avi"
    cut.write_bytes(b"RIFF")
    age(cut, *(tmp_path / "footage").rglob("*.*"))
    scans(nothing, nothing, nothing, end=signal.SIGINT)
    printed = run(*INDEX, "--watch", 1, "footage", status=130)
    assert printed.count("problem: ") == 1 and str(cut) in printed
    assert "17 detections in 9 images added; 1 file waiting, 1 failed" in printed


def test_a_signal_within_a_video_loses_nothing(run, tmp_path, scans, monkeypatch):
    age(*(tmp_path / "footage").rglob("*.*"))
    detect = BlockPredictor.detect

    def stop_later(self, images):
        if self.num_images >= 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return detect(self, images)

    scans(nothing)
    with monkeypatch.context() as patch:
        patch.setattr(BlockPredictor, "detect", stop_later)
        run(*INDEX, "--watch", 1, "--batch-size", 2, "footage")
    with open_store("street.db") as store:
        stored = store.count()
        assert 0 < stored < 17
    run(*INDEX, "footage")
    with open_store("street.db") as store:
        assert store.count() == 17
        embeddings = np.array([one.embedding for one in store.list()])
        assert len(embeddings) == 17
