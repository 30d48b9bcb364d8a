"""Results as text, JSON, ranking sheets and report; unreadable files; file names as text."""

import csv
import io
import json
import os
import re
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from clsa_search.gallery import Match
from clsa_search.retrieval import result_images
from clsa_search.retrieval.frame_reader import FrameReader
from clsa_search.retrieval.match_table import write_matches_csv
from clsa_search.retrieval.result_images import draw_results, read_result_images
from clsa_search.retrieval.results import QueryResult, format_results
from clsa_search.retrieval.search_answers import name_source, results_as_json, results_as_text
from clsa_search.retrieval.source_files import describe_file
from clsa_search.sightings.match_verdicts import CalibratedMatch, SightingResult
from clsa_search.sightings.user_verdicts import VerdictCounts
from clsa_search.visualize import PersonImage
from tests.support.result_cases import BOX, IMAGE, QUERY, detection, result


def test_tables_show_all_fields(photo):
    frame = detection(8, "film.mp4", (1.4, 2.6, 30, 40), frame=12, time=83.25, camera="007")
    table = format_results([result(detection(5, photo), frame), result(title="empty")])
    first, second = table.split("\n\n")
    title, header, _, *rows = first.splitlines()
    assert title == "query" and second.splitlines() == ["empty", "no matches"]
    assert header.split() == "rank similarity source frame time camera box score id".split()
    assert rows[0].split() == ["1", "0.900", str(photo), "60,30,90,100", "0.88", "5"]
    assert rows[1].split() == "2 0.800 film.mp4 12 0:01:23.2 007 1,3,30,40 0.88 8".split()


def test_the_probability_by_verdicts_stands_in_all_forms(photo, written):
    judged = CalibratedMatch(0.9, 5.0, 0.004, False, "very likely", None, 0.712)
    answer = SightingResult(100, True, False, [judged], verdicts=VerdictCounts(70, 50))
    one = replace(result(detection(5, photo)), answer=answer)
    _, _, header, _, row = format_results([one]).splitlines()
    assert header.split()[2:5] == ["strangers", "verdict", "same"]
    assert row.split()[2:7] == ["0.004", "very", "likely", "71", "%"]
    (query,) = results_as_json([one])["queries"]
    assert query["matches"][0]["probability"] == 0.712
    assert (query["same_verdicts"], query["other_verdicts"]) == (70, 50)
    assert query["id"] == one.query_id != result(detection(5, photo)).query_id
    (cells,) = csv.DictReader(io.StringIO(write_matches_csv([one]).decode("utf-8-sig")))
    assert cells["probability"] == "0.712"
    assert "71 % by 120 verdicts of users" in written(one).text
    without = replace(one, answer=replace(answer, matches=[replace(judged, probability=None)]))
    assert (
        "same" not in format_results([without]) and "verdicts of users" not in written(without).text
    )


def test_tables_escape_control_characters():
    table = format_results([result(detection(1, "a\x1b[2J\n.jpg", camera="\udcff"))])
    assert "\x1b" not in table and r"a\x1b[2J\n.jpg" in table
    table.encode("utf-8")


def test_json_has_everything_but_embeddings(photo):
    found = detection(5, photo, frame=3, time=1.5, camera="door", score=np.float32(0.5))
    document = json.loads(json.dumps(results_as_json([result(found), result(title="empty")])))
    first, second = document["queries"]
    assert first["matches"] == [
        {
            **{"rank": 1, "similarity": 0.9, "tracklet": None, "detection": 5, "detections": 1},
            **{"purity": 1.0, "source": name_source(str(photo)), "name": "photo.png"},
            **{"path": str(photo), "camera": "door", "first": 1.5, "last": 1.5},
            **{"first_frame": 3, "last_frame": 3, "frame": 3, "time": 1.5},
            **{"box": list(BOX), "score": 0.5, "origin": "model"},
            **{"z": None, "expected_strangers": None},
            **{"is_bound": False, "verdict": None, "probability": None},
            **{"rejected_like": None, "other_day": False},
        }
    ]
    assert first["query_images"] == [{"caption": "query.png", "box": list(BOX)}]
    assert (second["title"], second["matches"]) == ("empty", [])


def test_json_replaces_invalid_characters_of_file_names():
    written = results_as_text([result(detection(1, "/caf\udce9.jpg", camera="Süd"))])
    (found,) = json.loads(written.encode("utf-8"))["queries"][0]["matches"]
    assert (found["path"], found["name"], found["camera"]) == ("/caf?.jpg", "caf?.jpg", "Süd")


def test_json_has_no_numbers_that_json_lacks():
    one = QueryResult("query", [], [Match(detection(1, "a.png", time=float("inf")), float("nan"))])
    (found,) = json.loads(results_as_text([one]))["queries"][0]["matches"]
    assert (found["similarity"], found["time"], found["first"]) == (None, None, None)


def test_json_says_where_a_midnight_lies_between():
    noon = datetime(2026, 5, 1, 12).timestamp()
    days = [detection(i, "a.png", time=noon + 86_400 * i) for i in range(3)]
    matches = [Match(one, 0.9) for one in days]
    for times, expected in (
        ([], [False] * 3),
        ([None, 60.0], [False] * 3),
        ([noon], [False, True, True]),
        ([noon, noon + 86_400, None], [False, False, True]),
    ):
        one = QueryResult("query", [], matches, query_times=times)
        found = results_as_json([one])["queries"][0]["matches"]
        assert [match["other_day"] for match in found] == expected


def test_each_image_is_read_once_and_in_order(photo, video, monkeypatch):
    read, shown = [], []
    literally = FrameReader.read

    def record(self, source, frame):
        read.append((source, frame))
        return literally(self, source, frame)

    monkeypatch.setattr(FrameReader, "read", record)
    frames = [detection(i, video, frame=frame) for i, frame in enumerate((5, 0, 5, 2))]
    twice = detection(7, photo), detection(8, photo, (0, 0, 10, 20))
    for found, person in read_result_images([result(*frames, *twice), result(*frames)]):
        shown.append(found.detection_id)
        if found.source == str(video):
            assert person.image.mean() == pytest.approx(20 + 25 * found.frame, abs=6)
        assert person.box == pytest.approx(found.box)
    assert read == [(str(photo), None), (str(video), 0), (str(video), 2), (str(video), 5)]
    assert sorted(shown) == [0, 1, 2, 3, 7, 8]


def test_unreadable_images_come_with_a_reason(photo, video, tmp_path):
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8 no more")
    lost = [
        detection(1, tmp_path / "gone.jpg"),
        detection(2, tmp_path / "torn.jpg"),
        detection(3, video, frame=99),
        detection(4, photo, (200, 10, 220, 50)),
    ]
    reasons_given = dict(
        (found.detection_id, str(why)) for found, why in read_result_images([result(*lost)])
    )
    reasons = {
        1: "gone.jpg: (no such|does not)",
        2: "torn.jpg: not readable",
        3: "no frame 99",
        4: "photo.png: 160 x 120 pixels, the box lies outside",
    }
    for detection_id, reason in reasons.items():
        assert re.search(reason, reasons_given[detection_id])


def test_changed_files_are_not_shown(photo):
    one = result(detection(1, photo))
    described = describe_file(str(photo))
    fingerprints = {str(photo): f"{described}, score 0.5, camera None"}
    ((_, found),) = read_result_images([replace(one, fingerprints=fingerprints)])
    assert isinstance(found, PersonImage)
    Image.fromarray(IMAGE[..., ::-1] // 2).save(photo)
    os.utime(photo, ns=(0, 7))
    ((_, found),) = read_result_images([replace(one, fingerprints=fingerprints)])
    assert f"{photo}: changed since it was indexed" in str(found)
    assert described in str(found)
    for silent in (None, "", "sha256 of 12 bytes"):  # from other programs
        ((_, found),) = read_result_images([replace(one, fingerprints={str(photo): silent})])
        assert isinstance(found, PersonImage)


def test_each_result_gets_a_sheet(photo, tmp_path):
    found = detection(5, photo), detection(6, tmp_path / "gone.jpg")
    results = [
        result(*found),
        result(title="empty"),
        result(*found, query_images=[QUERY] * 4),
    ]
    paths = draw_results(results, tmp_path / "new")
    names = ["queries.png", "query_1.png", "query_2.png", "query_3.png"]
    assert [path.name for path in paths] == names
    heights = [Image.open(path).size[1] for path in paths]
    assert heights[1] == heights[2] < heights[3]
    assert draw_results([], tmp_path / "none") == []
    assert [path.name for path in draw_results(results[:1], tmp_path / "one")] == ["query_1.png"]


def test_sheets_have_a_maximum_number_of_matches(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(result_images, "MAX_SHEET_MATCHES", 12)
    rankings = []
    monkeypatch.setattr(
        result_images, "draw_ranking_sheet", lambda ranking, path: rankings.append(ranking)
    )
    draw_results([result(*(detection(i, photo) for i in range(30)))], tmp_path)
    (ranking,) = rankings
    assert len(ranking.matches) == 12 and ranking.summary == "30 matches, best 12 shown"
    assert {match.correct for match in ranking.matches} == {None}
