"""Results as text, JSON, ranking sheets and report; unreadable files; file names as text."""

import base64
import csv
import io
import json
import os
import re
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from io import BytesIO
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np
import pytest
from PIL import Image

from clsa_search.errors import InputError
from clsa_search.gallery import Match, StoredDetection
from clsa_search.retrieval import result_images
from clsa_search.retrieval.frame_reader import FrameReader
from clsa_search.retrieval.match_table import write_matches_csv
from clsa_search.retrieval.report import link_source, write_report
from clsa_search.retrieval.result_images import draw_results, read_result_images
from clsa_search.retrieval.results import QueryResult, format_results
from clsa_search.retrieval.search_answers import name_source, results_as_json, results_as_text
from clsa_search.retrieval.source_files import describe_file
from clsa_search.sightings.match_verdicts import CalibratedMatch, SightingResult
from clsa_search.sightings.user_verdicts import VerdictCounts
from clsa_search.visualize import PersonImage

IMAGE = np.full((120, 160, 3), 128, dtype=np.uint8)
BOX = (60.0, 30.0, 90.0, 100.0)
QUERY = PersonImage(IMAGE, np.array(BOX), "query.png")


def detection(detection_id, source, box=BOX, **fields):
    values = {"frame": None, "time": None, "camera": None, "score": 0.875} | fields
    return StoredDetection(
        detection_id, str(source), box=box, embedding=np.float32([0.6, 0.8]), **values
    )


def result(*detections, title="query", query_images=(QUERY,)):
    matches = [Match(one, 0.9 - i / 10) for i, one in enumerate(detections)]
    return QueryResult(title, query_images, matches)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(IMAGE).save(path)
    return path


@pytest.fixture
def video(tmp_path):
    """Eight gray frames, each lighter than the one before, four per second."""
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 4, (160, 120))
    for i in range(8):
        writer.write(np.full((120, 160, 3), 20 + 25 * i, np.uint8))
    writer.release()
    return path


class Page(HTMLParser):
    """An HTML page as elements (tag, attributes) and text."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def written(tmp_path):
    def write(*given):
        write_report(given, tmp_path / "new" / "report.html", address="gallery.db")
        return Page(tmp_path / "new" / "report.html")

    return write


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
            **{"box": list(BOX), "score": 0.5, "z": None, "expected_strangers": None},
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


def test_reports_show_queries_and_matches(photo, video, written):
    frame = detection(8, video, frame=6, time=1.5, camera="door", score=0.75)
    page = written(
        result(detection(5, photo), frame, query_images=[QUERY, QUERY]),
        result(title="empty"),
    )
    images = page.all("img")
    # a crop and a whole image of each query image and of each match
    assert len(images) == 2 * (2 + 2 + 1)
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in images)
    assert all(image["alt"] for image in images)
    for text in ("gallery.db", "0.900", "0:00:01.5", "door", "0.75", "photo.png", "Query 2 of 2"):
        assert text in page.text
    assert "No matches: no detection" in page.text and "2 matches" in page.text
    links = [link["href"] for link in page.all("a")]
    assert links.count(photo.as_uri()) == 2 and links.count(f"{video.as_uri()}#t=1.500") == 2
    assert page.all("html") == [{"lang": "en"}]
    levels = [tag for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert levels == ["h1", "h2", "h3", "h3", "h2"]


def test_reports_load_nothing(photo, written):
    page = written(result(detection(5, photo)))
    assert not page.all("script") and not page.all("link")
    policies = [tag["content"] for tag in page.all("meta") if "http-equiv" in tag]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    for attributes in (attributes for _, attributes in page.elements):
        assert urlsplit(attributes.get("href", "")).scheme in ("", "file")
        assert urlsplit(attributes.get("src", "data:")).scheme == "data"


def test_names_are_escaped_in_reports(tmp_path, written):
    source = tmp_path / "<img src=x onerror=alert(1)>\"'&.png"
    Image.fromarray(IMAGE).save(source)
    evil = "</title></style><script>alert(1)</script>"
    query = replace(QUERY, caption=evil)
    found = detection(5, source, camera=evil), detection(6, "/<b>gone</b>.jpg")
    page = written(result(*found, title=evil, query_images=[query]), result(title=evil))
    assert not page.all("script") and not page.all("b")
    assert {tuple(element) for element in page.all("img")} == {("src", "alt")}
    assert page.text.count(evil) == 6  # two headings and links to them, a camera, a caption
    assert not written(result(title=evil)).all("script")  # its title is the page's
    assert source.name in page.text and "/<b>gone</b>.jpg: " in page.text


@pytest.mark.parametrize("name", ["a b #1.png", "Straße 100%?.png", "日本.png", "c;d&e.png"])
def test_links_open_the_file(tmp_path, written, name):
    folder = tmp_path / "Kamera Süd #2"
    folder.mkdir()
    Image.fromarray(IMAGE).save(folder / name)
    page = written(result(detection(5, folder / name)))
    (href,) = {link["href"] for link in page.all("a")}
    parts = urlsplit(href)
    assert href.isascii() and " " not in href
    assert (parts.scheme, parts.query, parts.fragment) == ("file", "", "")
    assert unquote(parts.path) == str(folder / name)


def test_links_open_videos_at_the_frame(video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = video.as_uri()
    assert link_source(detection(1, "video.avi", frame=6, time=1.5)) == f"{uri}#t=1.500"
    # by the frame's number where the time is that of a calendar, or not known
    assert link_source(detection(1, video, frame=6, time=1.76e9)) == f"{uri}#t=1.500"
    assert link_source(detection(1, video, frame=6)) == f"{uri}#t=1.500"
    gone = tmp_path / "gone.avi"
    assert link_source(detection(1, gone, frame=6)) == gone.as_uri()
    assert link_source(detection(1, tmp_path / "a.jpg", time=7.0)) == (tmp_path / "a.jpg").as_uri()


def test_reports_name_missing_files(tmp_path, photo, written):
    page = written(result(detection(5, tmp_path / "gone.jpg"), detection(6, photo)))
    assert len(page.all("img")) == 4
    assert "No image" in page.text and f"{tmp_path / 'gone.jpg'}: " in page.text


def test_reports_of_unusual_results(photo, written):
    assert "There are no queries" in written().text
    assert "no matches" in written(result()).text
    # no file name of this world, a similarity below 0, a box of no size in the corner
    page = written(QueryResult("query", [QUERY], [Match(detection(5, "/\udcff.jpg"), -0.25)]))
    assert "-0.250" in page.text and ("i", {"style": "width: 0.0%"}) in page.elements
    assert len(written(result(detection(5, photo, (159, 119, 159, 119)))).all("img")) == 4
    narrow = PersonImage(np.zeros((1, 4000, 3), np.uint8), np.array([5, 0, 9, 1]))
    assert len(written(result(query_images=[narrow])).all("img")) == 2


def test_reports_of_many_matches_stay_small(tmp_path):
    rng = np.random.default_rng(0)
    gradient = np.add.outer(np.arange(480), np.arange(640))[..., None] / 6 + [0, 20, 40]
    for i in range(5):  # as noisy as images at night
        grain = rng.normal(0, 12, gradient.shape)
        pixels = np.clip(gradient + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    detections = [detection(i, tmp_path / f"{i % 5}.png", (i, 50, i + 60, 250)) for i in range(100)]
    write_report([result(*detections)], tmp_path / "report.html", address="gallery.db")
    assert 300_000 < (tmp_path / "report.html").stat().st_size < 3_000_000


def test_unwritable_reports_are_errors(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="report.html: cannot be written"):
        write_report([], tmp_path / "file" / "report.html", address="gallery.db")


def read_pixels(element):
    """Return the pixels of an image of the page, from 0 to 1."""
    return np.asarray(Image.open(BytesIO(base64.b64decode(element["src"].split(",")[1])))) / 255


def test_images_of_reports_show_the_box(photo, written):
    """Blue for the query, orange for a match, at its position in the image."""
    images = [read_pixels(p) for p in written(result(detection(5, photo))).all("img")]
    query, match = images[1], images[3]
    assert query.shape == match.shape == (255, 340, 3)
    row, left, right = 138, *np.multiply([BOX[0], BOX[2]], 340 / 160).astype(int)
    for pixels, channel in ((query, 0), (match, 2)):  # the dark channel of the line's color
        missing = np.flatnonzero(pixels[row, :, channel] < 0.3)
        assert missing.min() == pytest.approx(left, abs=3)
        assert missing.max() == pytest.approx(right, abs=3)
    # the crop has some surroundings, and the box of a tiny person is visible
    columns = np.flatnonzero(images[2][142, :, 2] < 0.3)
    assert 30 < columns.min() < columns.max() < 170
    distant = PersonImage(np.full((1200, 1600, 3), 128, np.uint8), np.array([800, 600, 803, 606]))
    _, image = written(result(query_images=[distant])).all("img")
    rows, columns = np.nonzero(read_pixels(image)[..., 0] < 0.35)
    assert np.ptp(rows) >= 5 and np.ptp(columns) >= 5
