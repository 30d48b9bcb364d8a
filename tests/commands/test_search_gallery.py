"""The command clsa-search: indexing, queries, lists, deletion, copies, wrong arguments."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from clsa_search.commands.query_arguments import parse_box
from clsa_search.commands.search_gallery import PRECISIONS, join_negatives
from clsa_search.engine.precision import DTYPES
from clsa_search.errors import InputError
from clsa_search.gallery import Filter, open_store
from clsa_search.gallery.sqlite_store import SQLiteStore
from clsa_search.retrieval import Indexer, IndexOptions, open_gallery
from clsa_search.retrieval.predictor import PersonSearchPredictor
from clsa_search.retrieval.result_images import read_result_images
from tests.support.footage import BlockPredictor, draw_blocks, write_image, write_video
from tests.support.photographs import add_photographs
from tests.support.tiny import load_tool


@pytest.fixture
def tool():
    return load_tool("search_gallery")


@pytest.fixture
def run(tool, capsys, monkeypatch, tmp_path):
    """Run the command in an empty folder, with blocks as people; return its output."""
    monkeypatch.setattr(PersonSearchPredictor, "load", lambda *args, **options: BlockPredictor())
    monkeypatch.chdir(tmp_path)

    def run(*argv, status=None):
        words = [str(word) for word in argv]
        if status is None:
            tool.main(words)
        else:
            with pytest.raises(SystemExit) as stop:
                tool.main(words)
            assert stop.value.code == status
        return capsys.readouterr().out

    return run


@pytest.fixture
def footage(tmp_path):
    """Color 0 in two images, color 3 moving through a video of two seconds."""
    folder = tmp_path / "footage"
    write_image(folder / "one.png", {0: 10, 1: 50})
    write_image(folder / "two.png", {0: 70})
    write_video(folder / "door.avi", [{3: 2 * i, 1: 80} for i in range(20)])
    (tmp_path / "weights.pth").touch()
    return folder


@pytest.fixture
def gallery(run, footage):
    run("index", "--weights", "weights.pth", "--store", "street.db", "--rate", 2, footage)
    return "street.db"


def query(run, *argv, per="image"):
    """Return the matches of each query of a command."""
    results = json.loads(run("query", "--store", "street.db", "--json", "--per", per, *argv))
    return [query["matches"] for query in results["queries"]]


def test_index_prints_a_summary(run, footage):
    words = ["index", "--weights", "weights.pth", "--store", "street.db", "--rate", 2, footage]
    (footage / "cut.png").write_bytes(b"")
    (footage / "notes.txt").touch()
    printed = run(*words, status=1).splitlines()
    assert printed[0].startswith(
        "street.db: 11 detections in 6 images added, 0 files already indexed"
    )
    assert printed[1] == "1 file is neither image nor video by name, and passed over: 1 .txt"
    assert printed[2].startswith(f"problem: {footage / 'cut.png'}: not readable as an image")
    assert printed[3].startswith("street.db: not calibrated: 2 pairs of certain strangers")
    assert printed[4:] == ["street.db: 5 sightings, 11 detections in all"]
    (footage / "cut.png").unlink()
    assert run(*words).startswith(
        "street.db: 0 detections in 0 images added, 3 files already indexed"
    )


def test_every_problem_is_printed_with_escaped_names(run, footage):
    for i in range(30):
        (footage / f"torn\x1b[2J\n{i}.png").write_bytes(b"")
    printed = run("index", "--weights", "weights.pth", "--store", "a\tb.db", footage, status=1)
    assert "\x1b" not in printed
    lines = printed.splitlines()
    assert sum(line.startswith("problem: ") for line in lines) == 30
    assert all(any(rf"torn\x1b[2J\n{i}.png" in line for line in lines) for i in range(30))
    name = footage / "odd\x1b[2J\n.png"
    write_image(footage / "good.png", {0: 10}).rename(name)
    run("index", "--weights", "weights.pth", "--store", "odd.db", name)
    assert r"odd\x1b[2J\n.png" in run("list", "odd.db")
    assert r"odd\x1b[2J\n.png" in run("delete", "odd.db", name, "--yes", "--force")


def test_the_summary_is_printed_after_a_failure_too(run, fails, footage, monkeypatch, capsys):
    (footage / "a.png").write_bytes(b"")

    def fail(*args):
        raise InputError("street.db: cannot add: the disk is full")

    monkeypatch.setattr(SQLiteStore, "add", fail)
    with pytest.raises(SystemExit) as stop:
        run("index", "--weights", "weights.pth", "--store", "street.db", footage)
    assert stop.value.code == 2
    printed, error = capsys.readouterr()
    assert f"problem: {footage / 'a.png'}: not readable" in printed
    assert error.splitlines()[-1] == "error: street.db: cannot add: the disk is full"


def test_queries_find_all_images_of_a_person(run, gallery, footage, tmp_path):
    (matches,) = query(run, "--image", footage / "two.png")
    assert [m["path"] for m in matches[:2]] == [str(footage / n) for n in ("one.png", "two.png")]
    assert [m["similarity"] for m in matches[:2]] == pytest.approx([1, 1])
    assert len(matches) == 6  # the best of each image
    assert matches[2]["similarity"] < 0.5
    assert json.loads((tmp_path / "output/query/results.json").read_text())["queries"]
    report = (tmp_path / "output/query/report.html").read_text()
    assert report.count("data:image/jpeg") > 6
    assert (tmp_path / "output/query/query_1.png").stat().st_size > 10_000
    (matches,) = query(run, "--image", footage / "two.png", "--top", 50, per="match")
    assert len(matches) == 11


def test_tables_show_sources_frames_and_times(run, gallery, footage):
    words = "query", "--store", gallery, "--id", 4, "--source", footage / "door.avi"
    table = run(*words, "--per", "image")
    lines = [line.split() for line in table.splitlines() if "door.avi" in line]
    assert {line[3] for line in lines} == {"0", "5", "10", "15"}
    assert {line[4] for line in lines} == {"0:00:00.0", "0:00:00.5", "0:00:01.0", "0:00:01.5"}


def test_queries_find_sightings(run, gallery, footage, tmp_path):
    found = ["--image", footage / "one.png", "--person", 2]
    (matches,) = query(run, *found, "--source", footage / "door.avi", per="sighting")
    assert len(matches) == 2  # two people in four frames of 1.5 seconds
    sighting = matches[0]
    assert matches[0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert (sighting["detections"], sighting["first_frame"], sighting["last_frame"]) == (4, 0, 15)
    assert (sighting["first"], sighting["last"]) == (0.0, 1.5)
    table = run("query", "--store", gallery, *found)
    assert "2 s, 4 frames" in table and "0:00:01.5" in table and "image" in table
    assert "seen</dt>" in (tmp_path / "output/query/report.html").read_text()
    assert "5 sightings, 11 detections in 3 files" in run("list", gallery)


def test_sightings_are_linked_after_indexing_and_by_command(run, gallery, footage):
    with open_store(gallery) as store:
        assert store.unlinked() == []
        linked = store.tracklets()
        store.reset_tracklets()
        assert store.unlinked() == [str(footage / "door.avi")]
    index = "index", "--weights", "weights.pth", "--store", gallery, "--rate", 2, footage
    printed = run(*index)  # as after a kill before linking
    assert "3 files already indexed" in printed and "5 sightings, 11 detections" in printed
    with open_store(gallery) as store:
        assert store.tracklets() == linked
        store.reset_tracklets()
    assert "door.avi: 2 sightings" in run("link", gallery)
    assert run("link", gallery) == f"{gallery}: 5 sightings, 11 detections\n"
    assert "door.avi: 2 sightings" in run("link", gallery, "--again")
    with open_store(gallery) as store:
        assert store.tracklets() == linked


def test_linking_alone_calibrates_where_it_is_needed(run):
    with open_store("street.db", weights="w", create=True) as store:
        add_photographs(store, 100, camera="north")
    printed = run("link", "street.db")
    assert printed.endswith("calibrated by 600 pairs of certain strangers in 400 sightings\n")
    with open_store("street.db", weights="w") as store:
        add_photographs(store, 20, camera="south")  # fewer than a quarter more
    assert run("link", "street.db") == "street.db: 480 sightings, 480 detections\n"


def test_one_of_several_detections_is_chosen_by_number(run, fails, gallery, footage, tmp_path):
    message = fails("query", "--store", gallery, "--image", footage / "one.png")
    assert "one.png: 2 detections; expected a number from 1 to 2" in message
    assert "output/query/people.png shows the numbers" in message
    assert (tmp_path / "output/query/people.png").is_file()
    (second,) = query(run, "--image", footage / "one.png", "--person", 2)
    assert {m["frame"] for m in second if m["similarity"] > 0.99} == {None, 0, 5, 10, 15}
    every = query(run, "--image", footage / "one.png", "--person", "all")
    assert every[1] == second and len(every) == 2
    (by_box,) = query(run, "--image", footage / "one.png", "--box", "50,20,64,60")
    assert by_box == second
    message = fails("query", "--store", gallery, "--image", footage / "one.png", "--person", 3)
    assert "person 3; expected a number from 1 to 2" in message


def test_several_images_of_a_person_are_averaged(run, fails, gallery, footage):
    both = ["--image", footage / "two.png", "--image", footage / "one.png", "--person", 2]
    (matches,) = query(run, *both)
    expected = {str(footage / name) for name in ("one.png", "two.png", "door.avi")}
    best = BlockPredictor().embed(draw_blocks({0: 0, 1: 40}), [(0, 20, 14, 60), (40, 20, 54, 60)])
    mean = best.sum(axis=0) / np.linalg.norm(best.sum(axis=0))
    assert {m["path"] for m in matches} == expected
    assert matches[0]["similarity"] == pytest.approx(float(best[0] @ mean), abs=1e-5)
    message = fails("query", "--store", gallery, *both[:3], footage / "one.png", "--person", "all")
    assert "--person all with several images" in message


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ([], 6),
        (["--since", "0:00:00.5"], 3),
        (["--since", "0.5", "--until", "1"], 2),
        (["--source", "footage/one.png", "footage/two.png"], 2),
        (["--source", "elsewhere/../footage/one.png"], 1),
        (["--per", "match", "--min-score", "0.95"], 6),
        (["--half"], 6),
    ],
)
def test_filters_reduce_the_matches(run, gallery, footage, options, count):
    (matches,) = query(run, "--image", footage / "two.png", *options)
    assert len(matches) == count


def test_cameras_and_dates_filter_the_matches(run, footage):
    video = ["index", "--weights", "weights.pth", "--store", "street.db", footage / "door.avi"]
    run(*video, "--camera", "door", "--start-time", "2026-05-01T12:00:00+00:00")
    image = write_image(footage / "three.png", {2: 10})
    run(*video[:-1], image, "--camera", "yard")
    found = ["--image", footage / "two.png", "--camera", "door", "yard"]
    assert len(query(run, *found, "--since", "2026-05-01T12:00:01+00:00")[0]) == 1
    assert len(query(run, *found, "--until", "2026-05-01T14:00:00.5+02:00")[0]) == 1
    assert len(query(run, *found, "--since", "2026-05-02")[0]) == 0


def test_times_of_another_clock_are_refused(run, fails, footage):
    video = ["index", "--weights", "weights.pth", "--store", "street.db", footage / "door.avi"]
    run(*video, "--start-time", "2026-05-01T12:00:00+00:00")
    words = ["query", "--store", "street.db", "--image", footage / "two.png"]
    for option in ("--since", "--until"):
        message = fails(*words, option, "12:00:01")
        expected = "12:00:01.0 is a time within a video; expected a date and time as 2026"
        assert f"{option[2:]}: {expected}" in message
    write_video(footage / "yard.avi", [{0: 10}] * 20)
    run(*video[:-1], footage / "yard.avi")  # both clocks are stored now
    assert len(query(run, *words[3:], "--until", "0:00:00.5")[0]) == 1
    message = fails(*words, "--source", footage / "yard.avi", "--since", "2026-05-01")
    assert "is a date; expected a time within the video as 0:01:30" in message


def test_filters_that_cannot_match_are_refused(fails, gallery, footage):
    words = ["query", "--store", gallery, "--image", footage / "two.png"]
    assert "camera: nowhere has no detections; expected none" in fails(
        *words, "--camera", "nowhere"
    )
    assert "--min-score: '2'; expected a number from 0 to 1" in fails(*words, "--min-score", 2)


def test_unwritable_outputs_are_reported_first(run, fails, gallery, footage, monkeypatch):
    words = ["query", "--store", gallery, "--image", footage / "two.png", "--output-dir"]
    with monkeypatch.context() as patch:
        patch.setattr(PersonSearchPredictor, "load", None)  # before the model is loaded
        assert "weights.pth: is not a folder; expected" in fails(*words, "weights.pth")
        assert "weights.pth/new: cannot be written: Not a dir" in fails(*words, "weights.pth/new")
        (footage / "results.json").mkdir()
        assert "footage/results.json: is a folder; expected" in fails(*words, footage)
        words = ["index", "--weights", "weights.pth", footage, "--store", "weights.pth/x.db"]
        assert "weights.pth/x.db: cannot be written: Not a directory" in fails(*words)
        assert "weights.pth/x.db: cannot be written" in fails("copy", gallery, "weights.pth/x.db")
    (footage / "results.json").rmdir()
    (footage / "people.png").mkdir()
    words = ["query", "--store", gallery, "--image", footage / "one.png", "--output-dir", footage]
    assert "people.png: cannot be written: Is a directory" in fails(*words)


def test_wrong_paths_create_no_store(fails, footage, tmp_path):
    words = ["index", "--weights", "weights.pth", "--store", "new.db"]
    assert "gone: No such file" in fails(*words, footage, "gone")
    assert not (tmp_path / "new.db").exists()


def test_file_names_need_not_be_text(run, gallery, footage, tmp_path):
    odd = footage / "caf\udce9.png"
    write_image(footage / "odd.png", {0: 30}).rename(odd)
    assert "two.png" in run("query", "--store", gallery, "--image", odd)
    assert (
        "caf\N{REPLACEMENT CHARACTER}.png" in (tmp_path / "output/query/results.json").read_text()
    )
    assert len(query(run, "--image", odd)[0]) == 6


def test_boxes_may_reach_beyond_the_image(run, fails, gallery, footage):
    (matches,) = query(run, "--image", footage / "two.png")
    for box in (["--box", "-5,-10,300,80"], ["--box=-.5,0,96,72"], ["--box", "0,0,1e9,1e9"]):
        assert len(query(run, "--image", footage / "two.png", *box)[0]) == len(matches)
        (result,) = json.loads(Path("output/query/results.json").read_text())["queries"]
        assert result["query_images"][0]["box"] == [0, 0, 96, 72]
    both = ["--image", footage / "one.png", "--box", "8,20,25,60", "--image", footage / "two.png"]
    words = ["query", "--store", gallery, *both, "--box"]
    message = fails(*words, "200,0,300,50")
    assert "two.png: box: [200.0, 0.0, 300.0, 50.0]; expected x1 < x2" in message
    assert "two.png: box: '1,2'; expected x1,y1,x2,y2" in fails(*words, "1,2")


def test_the_same_person_is_searched_by_id(run, fails, gallery, footage):
    (matches,) = query(run, "--image", footage / "two.png")
    (again,) = query(run, "--id", matches[0]["detection"])
    assert [m["detection"] for m in again] == [m["detection"] for m in matches]
    assert "there is no detection 99" in fails("query", "--store", gallery, "--id", 99)


@pytest.mark.parametrize("fate", ["gone", "changed"])
def test_a_search_by_id_works_without_the_image(run, gallery, footage, tmp_path, fate):
    (matches,) = query(run, "--image", footage / "two.png")
    path = footage / "one.png"
    if fate == "gone":
        path.unlink()
    else:
        write_image(path, {2: 10})
        os.utime(path, ns=(0, 0))
    (again,) = query(run, "--id", matches[0]["detection"])
    assert [m["detection"] for m in again] == [m["detection"] for m in matches]
    results = json.loads((tmp_path / "output/query/results.json").read_text())
    assert results["queries"][0]["query_images"][0]["caption"] == "one.png, no image"
    reason = {"gone": "No such file", "changed": "changed since it was indexed"}[fate]
    assert reason in (tmp_path / "output/query/report.html").read_text()


def test_reindexed_files_are_shown_again(gallery, footage):
    """In a gallery open all the time, too."""
    with open_gallery(gallery) as opened:
        sources = {"where": Filter(sources=[str(footage / "one.png")]), "k": 1}
        for left in (10, 12):
            write_image(footage / "one.png", {0: left})
            os.utime(footage / "one.png", ns=(0, left))
            ((_, found),) = read_result_images([opened.search_by_id(11, **sources)])
            assert "changed since it was indexed" in str(found)
            indexer = Indexer(opened.predictor, opened.store, IndexOptions(rate=2))
            indexer.plan([footage / "one.png"])
            indexer.run()
            ((_, found),) = read_result_images([opened.search_by_id(11, **sources)])
            assert found.box[0] == left


def test_copies_have_the_same_matches(run, gallery, footage):
    (before,) = query(run, "--image", footage / "two.png", per="sighting")
    assert "11 detections of street.db copied" in run("copy", gallery, "copy.db")
    with open_store("copy.db") as copy:
        assert copy.count() == 11 and all(source.is_complete for source in copy.sources())
    printed = run("query", "--store", "copy.db", "--json", "--image", footage / "two.png")
    assert json.loads(printed)["queries"][0]["matches"] == before


def test_a_gallery_is_calibrated(run, fails, gallery, footage):
    printed = run("calibrate", gallery)
    assert re.fullmatch(
        r"street.db: not calibrated: \d+ pairs? of certain strangers, fewer than 500; "
        "searches give ranks only\n",
        printed,
    )
    assert "apart: there is no camera a;" in fails("calibrate", gallery, "--apart", "north", "a")
    bounded = "query", "--store", gallery, "--image", footage / "two.png", "--max-strangers", "1"
    assert "is not calibrated" in fails(*bounded)
    assert "expected it with --per sighting" in fails(*bounded, "--per", "image")
    run("copy", gallery, "copy.db")
    with open_store("copy.db") as copy:
        assert len(copy.notes("calibration")) == 1


def test_files_are_listed_and_deleted(run, fails, gallery, footage):
    rows = {tuple(line.split()) for line in run("list", gallery).splitlines()}
    assert (str(footage / "one.png"), "2", "2", "yes") in rows
    assert (str(footage / "door.avi"), "8", "2", "yes") in rows
    printed = run("delete", gallery, "footage/door.avi")
    assert f"{footage}/door.avi: 8 detections\n" in printed
    assert "8 of 11 detections in 1 file\nnothing is deleted without --yes" in printed
    assert "more than half; expected --force" in fails(
        "delete", gallery, "footage/door.avi", "--yes"
    )
    assert "11 detections in 3 files" in run("list", gallery)
    printed = run("delete", gallery, "footage/door.avi", "--yes", "--force")
    assert "8 detections deleted" in printed
    assert "3 detections in 2 files" in run("list", gallery)
    assert "door.avi is not indexed; expected" in fails("delete", gallery, "footage/door.avi")


def test_files_of_a_damaged_gallery_are_deleted(run, fails, gallery, footage):
    connection = sqlite3.connect(gallery, isolation_level=None)
    connection.execute("DELETE FROM checksums WHERE id IN (SELECT max(id) FROM checksums)")
    connection.close()
    assert "numbers of detections disagree; expected a gallery" in fails("list", gallery)
    for name, count in (("one.png", 2), ("two.png", 1)):
        assert f": {count} detection" in run("delete", gallery, f"footage/{name}", "--yes")
    assert "detections disagree; expected" in fails("delete", gallery, "footage/one.png")
    (footage / "door.avi").rename(footage / "gate.avi")
    assert "detections disagree; expected" in fails("prune", gallery)
    printed = run("delete", gallery, "footage/door.avi", "--yes", "--force")
    assert "door.avi: 8 detections deleted" in printed
    assert "0 detections in 0 files" in run("list", gallery)


def test_gone_files_are_listed_and_then_deleted(run, fails, gallery, footage):
    assert run("prune", gallery) == "street.db: 0 of 3 files gone\n"
    (footage / "door.avi").unlink()
    printed = run("prune", gallery)
    assert f"{footage}/door.avi: 8 detections\n" in printed
    assert "1 of 3 files gone; nothing is deleted without --yes" in printed
    assert "11 detections in 3 files" in run("list", gallery)
    assert "8 of 11 detections would be deleted, more than half" in fails("prune", gallery, "--yes")
    assert "11 detections in 3 files" in run("list", gallery)
    printed = run("prune", gallery, "--yes", "--force", "--audit")
    assert f"{footage}/door.avi: 8 detections deleted" in printed
    assert "door.avi" not in run("list", gallery, "--audit")
    assert "3 detections in 2 files" in run("list", gallery)


def test_moved_folders_are_followed(run, fails, gallery, footage, tmp_path):
    (before,) = query(run, "--image", footage / "two.png")
    footage.rename(tmp_path / "archive")
    printed = run("relink", gallery, "footage", "archive")
    assert f"{tmp_path}/archive/door.avi: 8 detections\n" in printed
    assert "street.db: 3 files moved, 0 left as before" in printed
    (after,) = query(run, "--image", "archive/two.png")
    assert [match["detection"] for match in after] == [match["detection"] for match in before]
    words = ("index", "--weights", "weights.pth", "--store", gallery, "--rate", 2, "archive")
    assert "3 files already indexed" in run(*words)
    assert "footage: is not indexed" in fails("relink", gallery, "footage", "archive")
    (tmp_path / "archive" / "one.png").rename(tmp_path / "three.png")
    (tmp_path / "three.png").write_bytes(b"")
    printed = run("relink", gallery, "archive/one.png", "three.png", status=1)
    assert "three.png: has 0 bytes; expected" in printed and "0 files moved, 1 left" in printed


def test_files_are_named_by_links_too(run, gallery, footage, tmp_path):
    (tmp_path / "link").symlink_to(footage)
    (matches,) = query(run, "--image", footage / "two.png", "--source", "link/one.png")
    assert [match["path"] for match in matches] == [str(footage / "one.png")]
    printed = run("delete", gallery, "link/door.avi", "--yes", "--force")
    assert f"{footage}/door.avi: 8 detections deleted" in printed


def test_interruptions_keep_stored_detections(run, footage, monkeypatch):
    detect = BlockPredictor.detect

    def detect_some(self, images):
        if self.num_images:
            raise KeyboardInterrupt
        return detect(self, images)

    words = ["index", "--weights", "weights.pth", "--store", "street.db", "--batch-size", 2]
    with monkeypatch.context() as patch:
        patch.setattr(BlockPredictor, "detect", detect_some)
        printed = run(*words, footage, status=130)
    assert "3 detections in 2 images added" in printed and "interrupted: run the same" in printed
    assert "2 files already indexed" in run(*words, footage)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image", "gone.png"], "gone.png: does not exist"),
        (["--image", "footage/one.png", "--box", "200,0,300,50"], "inside the image of 96 x 72"),
        (["--image", "footage/one.png", "--box", "1,2,3"], "box: '1,2,3'; expected x1,y1,x2,y2"),
        (["--image", "footage/empty.png"], "empty.png: no detection with score 0.5 or more"),
        (["--image", "footage/two.png", "--since", "noon"], "time: 'noon'; expected seconds"),
        (
            ["--image", "footage/two.png", "--top", "0"],
            "--top: '0'; expected a whole number from 1",
        ),
        (["--image", "footage/two.png", "--since", "nan"], "time: 'nan'; expected seconds"),
        (
            ["--image", "footage/one.png", "--person", "x"],
            "'x'; expected a whole number from 1, or all",
        ),
        (["--image", "a.png", "--box", "a,b,c,d"], "box: 'a,b,c,d'; expected x1,y1,x2,y2"),
        (["--id", "9223372036854775808"], "expected a whole number from 1"),
        (["--id", "0"], "--id: '0'; expected a whole number from 1"),
        (["--id", "1", "--since", "2", "--until", "1"], "--since is later than --until"),
        (["--id", "1", "--top", "9" * 5000], "expected a whole number from 1"),
        (["--id", "1", "--top", "-1"], "--top: '-1'; expected a whole number from 1"),
        ([], "expected one or more --image, or --id"),
        (["--image", "footage/two.png", "--id", "1"], "expected one or more --image, or --id"),
        (["--image", "a.png", "--box", "0,0,nan,5"], "box: '0,0,nan,5'; expected x1,y1,x2,y2 with"),
        (["--image", "a.png", "--box", "0,0,inf,5"], "expected x1,y1,x2,y2 with x1 < x2"),
        (["--image", "a.png", "--box", "9,0,5,5"], "expected x1,y1,x2,y2 with x1 < x2"),
        (["--box", "1,2,3,4"], "stands before any --image"),
        (["--image", "footage/one.png", "--box", "1,2,3,4", "--person", "1"], "is chosen already"),
    ],
)
def test_wrong_queries_are_refused(fails, gallery, footage, words, message):
    write_image(footage / "empty.png", {})
    assert message in fails("query", "--store", gallery, *words)


def test_other_weights_are_refused(run, fails, gallery, footage, tmp_path, monkeypatch):
    monkeypatch.setattr(BlockPredictor, "weights_sha256", "c" * 64)
    (tmp_path / "other.pth").touch()
    words = ["index", "--weights", "other.pth", "--store", gallery, footage]
    assert "embeddings of different weights cannot be compared" in fails(*words)
    words = ["query", "--store", gallery, "--image", footage / "two.png"]
    assert "embeddings of different weights cannot be compared" in fails(*words)


def test_weights_are_remembered_or_requested(run, fails, gallery, footage, tmp_path):
    words = ["query", "--store", gallery, "--image", footage / "two.png"]
    (tmp_path / "weights.pth").rename(tmp_path / "moved.pth")
    message = fails(*words)
    assert f"its weights {tmp_path / 'weights.pth'} do not exist; expected --weights" in message
    assert "two.png" in run(*words, "--weights", "moved.pth")
    message = fails("query", "--store", "gone.db", *words[3:])
    assert "gone.db: there is no gallery; make it with `clsa-search index`" in message


def test_boxes_are_four_numbers():
    assert parse_box("1,2.5,30,4e1") == (1, 2.5, 30, 40)


def test_negative_values_are_joined_with_their_option():
    words = ["--box", "-5,61", "--since", "-.5", "--until", "--json", "--top", "-5", "-x"]
    assert join_negatives(words) == ["--box=-5,61", "--since=-.5", *words[4:]]


def test_precisions_are_those_of_the_engine():
    assert list(PRECISIONS) == list(DTYPES)


LIGHT = """
import sys
from clsa_search.commands.search_gallery import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
heavy = "torch detectron2 cv2 matplotlib scipy pymilvus tabulate tqdm".split()
assert not [name for name in heavy if name in sys.modules], heavy
"""


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "query --help",
        "query --store g.db",
        "query --store g.db --image a.jpg --since noon",
        "query --store g.db --image a.jpg --box 1,2",
        "query --store g.db --image a.jpg --min-score 2",
        "index --store g.db --weights w.pth --rate 0 .",
        "index --store g.db --weights w.pth missing",
    ],
)
def test_help_and_wrong_arguments_answer_before_heavy_imports(words):
    subprocess.run([sys.executable, "-c", LIGHT, *words.split()], check=True)


def test_a_real_model_indexes_and_searches(tiny_cfg, tiny_data, tmp_path):
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    options = {"create": True, "min_score": 0.0}
    with open_gallery(tmp_path / "g.db", tmp_path / "model.pth", **options) as gallery:
        indexer = Indexer(gallery.predictor, gallery.store)
        assert indexer.plan([tiny_data]) == 18
        indexer.run()
        assert indexer.report.detections == gallery.store.count() > 0
    with open_gallery(tmp_path / "g.db") as gallery:  # remembers the weights
        result = gallery.search_by_id(1, k=3, per="match")
        assert result.matches[0].detection.detection_id == 1
        assert result.matches[0].similarity == pytest.approx(1, abs=1e-5)


def test_detections_of_another_program_are_indexed(run, footage, tmp_path):
    words = ["index", "--weights", "weights.pth", "--store", "street.db"]
    lines = [f"{n},-1,{2 * n - 2},20,14,40,{s}" for n, s in ((1, 0.9), (6, 0.6), (8, 0.1))]
    (tmp_path / "det.txt").write_text("\n".join(lines))
    printed = run(*words, "--detections", "det.txt", footage / "door.avi").splitlines()
    assert printed[:2] == [
        "det.txt: 2 of 3 boxes used, in 2 images",
        "street.db: 2 detections in 2 images added, 0 files already indexed",
    ]
    with open_store("street.db") as store:
        assert sorted(d.frame for d in store.scan()) == [0, 5]
    results = [
        {"image_id": name, "category_id": 5, "bbox": [10, 20, 14, 40], "score": 0.8}
        for name in ("one", "away", "away")
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    options = ["--detections", "results.json", "--detections-category", "5"]
    assert run(*words, *options, footage).splitlines()[:3] == [
        "results.json: 1 of 3 boxes used, in 1 image",
        "not among the files: 1 image with 2 boxes, such as 'away'",
        "2 files without boxes",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--detections", "none.txt"], "none.txt: cannot be read: No such file"),
        (["--detections-images", "a.json"], "--detections-images tells how to read --detections"),
        (["--detections", "det.txt"], "det.txt: line 1: 1 field; expected frame, track"),
    ],
)
def test_wrong_detections_are_refused_before_a_gallery_is_made(
    tool, footage, tmp_path, monkeypatch, capsys, options, expected
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "det.txt").write_text("person")
    words = ["index", "--weights", "weights.pth", "--store", "street.db", *options]
    with pytest.raises(SystemExit) as stop:
        tool.main([*words, str(footage / "door.avi")])
    assert stop.value.code == 2 and expected in capsys.readouterr().err
    assert not (tmp_path / "street.db").exists()


@pytest.mark.parametrize("words", [[], ["my_videos"], ["--store", "a.db", "my_videos"]])
def test_index_without_weights_shows_the_way_to_them(tool, capsys, words):
    with pytest.raises(SystemExit) as stop:
        tool.main(["index", *words])
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert "https://" in printed.out and "CC BY-SA 3.0" in printed.out
    assert "clsa-convert-weights --detector model_final_280758.pkl" in printed.out
    assert "clsa-search index --weights weights/street.pth" in printed.out
    last = printed.err.splitlines()[-1]
    assert "the following arguments are required: " in last and "--weights" in last
