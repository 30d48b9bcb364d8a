"""clsa-search query: images, boxes, filters, ids, tables and refused queries."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from clsa_search.commands.query_arguments import parse_box
from clsa_search.commands.search_gallery import join_negatives
from clsa_search.retrieval.predictor import PersonSearchPredictor
from tests.support.footage import BlockPredictor, draw_blocks, write_image, write_video
from tests.support.search_command import query


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


def test_boxes_are_four_numbers():
    assert parse_box("1,2.5,30,4e1") == (1, 2.5, 30, 40)


def test_negative_values_are_joined_with_their_option():
    words = ["--box", "-5,61", "--since", "-.5", "--until", "--json", "--top", "-5", "-x"]
    assert join_negatives(words) == ["--box=-5,61", "--since=-.5", *words[4:]]
