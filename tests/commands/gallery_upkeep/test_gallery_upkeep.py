"""clsa-search: times and cameras, deletion, retention, exports, the watch list, watched folders."""

import csv
import io
import json
import os
import sqlite3
import zipfile

import pytest

from clsa_search.gallery import open_store
from clsa_search.retrieval.predictor import PersonSearchPredictor
from clsa_search.retrieval.watch_list import add_person, judge_sighting, list_people
from tests.support.footage import write_image, write_video
from tests.support.search_command import INDEX
from tests.support.sighting_cases import DAY, find_sighting


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
