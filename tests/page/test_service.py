"""Work behind the page: choose persons in uploads and indexed images, search, read matches."""

import os
import sys
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page is built with Gradio, which is not installed")

from clsa_search.errors import InputError
from clsa_search.page.page_images import THUMBNAIL_SIZE, TILE_SIZE, draw_missing
from clsa_search.page.service import PageService, choose_at
from clsa_search.page.session import SearchRequest
from tests.support.footage import write_image
from tests.support.page_cases import GREEN, RED, choose_indexed, make_gallery

NOON = datetime(2026, 5, 1, 12).timestamp()


@pytest.fixture
def gallery(tmp_path):
    with make_gallery(tmp_path) as gallery:
        yield gallery


def test_a_click_chooses_the_smallest_box_around_it_or_the_nearest():
    boxes = np.array([[0, 0, 100, 100], [10, 10, 30, 50], [200, 0, 220, 50]], dtype=float)
    assert choose_at(boxes, 20, 20) == 1
    assert choose_at(boxes, 60, 60) == 0
    assert choose_at(boxes, 190, 20) == 2
    assert choose_at(boxes, 110, 120) == 0


def test_large_images_are_shown_smaller_with_their_boxes(gallery, tmp_path):
    path = write_image(tmp_path / "large.png", {RED: 600, GREEN: 1500}, size=(2000, 100))
    query_image = PageService(gallery).load_upload(path, "large.png")
    assert query_image.image.shape == (80, 1600, 3)
    expected = [[480, 16, 491.2, 48], [1200, 16, 1211.2, 48]]
    assert query_image.detections.boxes == pytest.approx(np.array(expected))
    assert query_image.choose(2).person.caption == "person 2 of large.png"
    with pytest.raises(InputError, match="person: 3; expected a number from 1 to 2"):
        query_image.choose(3)
    with pytest.raises(InputError, match="person: 0"):
        query_image.choose(0)


def test_an_indexed_image_needs_no_model(gallery):
    service = PageService(gallery)
    door, _, street = [source.path for source in gallery.store.sources()]
    before = gallery.predictor.num_images
    query_image = service.load_indexed(door)
    assert gallery.predictor.num_images == before
    assert query_image.name == "door.png"
    assert query_image.path == door and query_image.time is None
    assert sorted(query_image.detections.boxes[:, 0].tolist()) == [10, 60]
    query_image = service.load_indexed(street, 1.2)
    assert (query_image.name, query_image.time) == ("street.avi · 0:00:01.5", 1.5)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (SearchRequest(), ["door.png", "yard.png", *["street.avi"] * 4]),
        (SearchRequest(cameras=["yard", "door"]), ["door.png", "yard.png"]),
        (SearchRequest(path="YARD"), ["yard.png"]),
        (SearchRequest(path="nowhere"), []),
        (SearchRequest(since="0:00:01.2", until="2.2"), ["street.avi", "street.avi"]),
        (SearchRequest(count=1), ["door.png"]),
        (SearchRequest(count=-5), ["door.png"]),
        (SearchRequest(every_match=True), ["yard.png", *["door.png"] * 2, *["street.avi"] * 6]),
        (SearchRequest(min_score=0.99, every_match=True, count=1e9), None),
    ],
)
def test_requests_choose_the_matches(gallery, tmp_path, request_, expected):
    service = PageService(gallery)
    query = service.load_upload(write_image(tmp_path / "q.png", {RED: 5}), "q.png").choose(1)
    result = service.search(query, request_)
    names = [detection.source.rsplit("/", 1)[1] for detection in result.detections]
    if expected is None:
        assert names and all(detection.score >= 0.99 for detection in result.detections)
    else:
        assert sorted(names) == sorted(expected)
    assert result.title == "person 1 of q.png"
    similarities = [match.similarity for match in result.matches]
    assert similarities == sorted(similarities, reverse=True)


@pytest.mark.parametrize("time", ["noon", "nan", "inf"])
def test_a_malformed_time_is_refused(gallery, time):
    service = PageService(gallery)
    with pytest.raises(InputError, match=f"time: '{time}'; expected"):
        service.search(choose_indexed(service), SearchRequest(since=time))


@pytest.mark.parametrize(("start", "time"), [(NOON, "0:00:10"), (0.0, "2026-05-01")])
def test_a_time_of_the_other_kind_is_reported(tmp_path, start, time):
    with make_gallery(tmp_path, start) as gallery:
        service = PageService(gallery)
        for name, request_ in (
            ("From", SearchRequest(since=time)),
            ("To", SearchRequest(until=time)),
        ):
            with pytest.raises(InputError, match=f"^{name}: .* is a .*; expected a "):
                service.search(choose_indexed(service), request_)


def test_times_in_the_wrong_order_are_reported_by_the_names_of_the_page(gallery):
    service = PageService(gallery)
    request_ = SearchRequest(since="2", until="1")
    with pytest.raises(InputError, match="^From: 0:00:02.0 is later than To: 0:00:01.0; expected"):
        service.search(choose_indexed(service), request_)


@pytest.mark.parametrize("times", [{"since": "0:01:00"}, {"until": "0.5"}])
def test_times_without_any_detection_are_reported(gallery, times):
    service = PageService(gallery)
    query = choose_indexed(service)
    request_ = SearchRequest(**times)
    with pytest.raises(InputError, match="From, To: no detection at these times; .* h:mm"):
        service.search(query, request_)
    nowhere = replace(request_, since="", until="", path="nowhere")
    assert not service.search(query, nowhere).matches
    gallery.store.delete(gallery.store.sources()[2].path)
    with pytest.raises(InputError, match="expected none: no detection has a time"):
        service.search(query, request_)


def test_a_match_in_a_changed_file_is_not_shown(gallery):
    service = PageService(gallery)
    result = service.search(choose_indexed(service), SearchRequest(cameras=["yard"]))
    service.read_match(result.detections[0], result)
    os.utime(result.detections[0].source, ns=(1, 1))
    with pytest.raises(InputError, match="changed since it was indexed"):
        service.read_match(result.detections[0], result)


def test_matches_in_deleted_files_keep_their_rank(gallery, tmp_path):
    service = PageService(gallery)
    result = service.search(choose_indexed(service), SearchRequest(cameras=["door", "yard"]))
    yard = next(detection for detection in result.detections if detection.camera == "yard")
    (tmp_path / "media" / "yard.png").unlink()
    shown = {text.split("\n")[1]: tile for tile, text in service.draw_matches(result)}
    assert np.array_equal(shown["yard"], draw_missing(TILE_SIZE))
    assert not np.array_equal(shown["door"], draw_missing(TILE_SIZE))
    with pytest.raises(InputError, match=r"yard\.png"):
        service.read_match(yard, result)
    thumbnails = service.draw_thumbnails([yard.source])
    assert np.array_equal(thumbnails[0][0], draw_missing(THUMBNAIL_SIZE))


def test_without_gradio_the_message_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("clsa_search.page")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r"pip install 'clsa_search\[page\]'"):
        import clsa_search.page  # noqa: F401
