"""Reports of searches as pages: matches, links, faults and sizes."""

import base64
from dataclasses import replace
from io import BytesIO
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from clsa_search.errors import InputError
from clsa_search.gallery import Match
from clsa_search.retrieval.report import link_source, write_report
from clsa_search.retrieval.results import QueryResult
from clsa_search.visualize import PersonImage
from tests.support.result_cases import BOX, IMAGE, QUERY, detection, result


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
