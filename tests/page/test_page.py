"""What the page does: pictures of unknown origin, choosing people, indexed pictures, searching."""

import io
import os
import sys
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page is built with Gradio, which is not installed")

import gradio
from PIL import Image

from clsa_search.errors import InputError
from clsa_search.gallery import StoredDetection
from clsa_search.page import source_list as shelf
from clsa_search.page.desk import Desk, Wish, choose_at
from clsa_search.page.events import Events, Visit
from clsa_search.page.layout import Layout
from clsa_search.page.page_images import (
    BOX_COLOR,
    THUMBNAIL_SIZE,
    TILE_SIZE,
    draw_frame,
    draw_missing,
    draw_tile,
    fit_browser,
    read_upload,
)
from clsa_search.page.texts import describe_match, describe_times, name_match
from clsa_search.visualize import PersonImage
from tests.support.footage import draw_blocks, write_image
from tests.support.page_cases import BLUE, GREEN, RED, choose_indexed, encode, make_gallery


@pytest.fixture
def gallery(tmp_path):
    with make_gallery(tmp_path) as gallery:
        yield gallery


NOON = datetime(2026, 5, 1, 12).timestamp()
PICTURE = draw_blocks({RED: 10, BLUE: 60})


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # taken upright with a camera on its side
    return encode(np.rot90(PICTURE), exif=exif)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encode(PICTURE), PICTURE),
        (turned(), PICTURE),
        (encode(np.dstack([PICTURE, np.full((72, 96), 9, np.uint8)])), PICTURE),
        (encode(PICTURE[..., 0]), np.repeat(PICTURE[..., :1], 3, axis=2)),
        (encode(PICTURE[..., 0].astype(np.uint16) * 257), np.repeat(PICTURE[..., :1], 3, axis=2)),
    ],
    ids=["plain", "turned", "transparent", "gray", "16 bits"],
)
def test_uploads_are_read_like_pictures_on_disk(tmp_path, content, expected):
    path = tmp_path / "upload"
    path.write_bytes(content)
    assert np.array_equal(read_upload(path, "mine"), expected)


def bomb(width, height):
    content = io.BytesIO()
    Image.new("1", (width, height)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "mine: is not readable as an image; expected one of BMP, JPEG"),
        (b"no image", "mine: is not readable"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "mine: is not readable"),
        (encode(PICTURE, "GIF"), "mine: is not readable"),
        (encode(PICTURE)[:150], "mine: not readable as an image: "),
        (bomb(9000, 8000), "mine: has too many pixels; expected at most 64 million"),
        (bomb(20000, 10000), "mine: has too many pixels"),
    ],
    ids=["empty", "text", "program", "gif", "cut", "large", "bomb"],
)
def test_bad_uploads_are_named_without_their_place(tmp_path, content, message):
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_upload(path, "mine")
    assert str(tmp_path) not in str(caught.value)


def test_a_click_chooses_the_smallest_box_around_it_or_the_nearest():
    boxes = np.array([[0, 0, 100, 100], [10, 10, 30, 50], [200, 0, 220, 50]], dtype=float)
    assert choose_at(boxes, 20, 20) == 1
    assert choose_at(boxes, 60, 60) == 0
    assert choose_at(boxes, 190, 20) == 2
    assert choose_at(boxes, 110, 120) == 0


def test_large_pictures_are_shown_smaller_with_their_boxes(gallery, tmp_path):
    path = write_image(tmp_path / "large.png", {RED: 600, GREEN: 1500}, size=(2000, 100))
    scene = Desk(gallery).look_at_upload(path, "large.png")
    assert scene.image.shape == (80, 1600, 3)
    expected = [[480, 16, 491.2, 48], [1200, 16, 1211.2, 48]]
    assert scene.boxes == pytest.approx(np.array(expected))
    assert scene.choose(2).sighting.caption == "person 2 of large.png"
    with pytest.raises(InputError, match="person: 3; expected a number from 1 to 2"):
        scene.choose(3)
    with pytest.raises(InputError, match="person: 0"):
        scene.choose(0)


def test_tiles_have_one_size_and_frames_a_box():
    for box in ([10, 20, 24, 60], [0, 0, 96, 72], [94, 70, 96, 72]):
        tile = draw_tile(PersonImage(PICTURE, np.array(box)))
        assert tile.shape == (TILE_SIZE[1], TILE_SIZE[0], 3)
    assert draw_missing(TILE_SIZE).shape == tile.shape
    assert fit_browser(PICTURE) is PICTURE
    frame = draw_frame(PersonImage(PICTURE, np.array([10, 20, 24, 60])))
    scale = frame.shape[1] // 96
    assert scale == 10 and tuple(frame[40 * scale, 10 * scale]) == BOX_COLOR
    assert tuple(frame[5 * scale, 5 * scale]) != BOX_COLOR


def test_indexed_pictures_are_browsed_by_name_and_page(gallery, monkeypatch):
    store = gallery.store
    door, yard, street = [source.path for source in store.sources()]
    assert shelf.browse(store) == ([door, yard, street], 0, 1)
    assert shelf.browse(store, "Yard.P") == ([yard], 0, 1)
    assert shelf.browse(store, "nowhere") == ([], 0, 1)
    monkeypatch.setattr(shelf, "PER_PAGE", 2)
    assert shelf.browse(store, page=1) == ([street], 1, 2)
    assert shelf.browse(store, page=9) == ([street], 1, 2)
    assert shelf.browse(store, page=-1) == ([door, yard], 0, 2)


@pytest.mark.parametrize("enough", [1, 100])
def test_people_of_indexed_pictures(gallery, monkeypatch, enough):
    monkeypatch.setattr(shelf, "_ENOUGH", enough)  # 1: the time is looked for step by step
    store = gallery.store
    door, yard, street = [source.path for source in store.sources()]

    def list_times(path, since=None):
        return [(entry.frame, entry.time) for entry in shelf.list_people(store, path, since)]

    assert list_times(door) == [(None, None)] * 2
    assert list_times(yard) == [(None, None)]
    assert list_times(street) == [(10, 1.0)]
    assert list_times(street, 1.0) == [(10, 1.0)]
    assert list_times(street, 1.01) == [(15, 1.5)]
    assert list_times(street, 1.6) == [(20, 2.0)] * 2
    with pytest.raises(InputError, match="street.avi: shows nobody from then on"):
        shelf.list_people(store, street, 60)
    with pytest.raises(InputError, match="/etc/passwd: is not in the gallery"):
        shelf.list_people(store, "/etc/passwd")


@pytest.mark.parametrize("start", [0.0, 600.0, NOON, NOON + 0.1234567])
def test_later_in_a_video_counts_from_its_beginning(tmp_path, start):
    with make_gallery(tmp_path, start) as gallery, gradio.Blocks():
        events = Events(Desk(gallery), Layout())
        street = gallery.store.sources()[2].path
        visit = Visit(scene=events.desk.look_at_indexed(street))

        def go_to(text):
            return events.take_later(visit, text)[events.visit].scene.time - start

        for text, expected in (("0", 1), ("1.1", 1.5), ("0:00:01.5", 1.5), ("0:00:02", 2)):
            assert go_to(text) == pytest.approx(expected), text
        with pytest.raises(InputError, match="shows nobody from then on"):
            go_to("0:00:03")
        if start == NOON:
            assert go_to("2026-05-01T12:00:02") == pytest.approx(2)


def test_there_is_nothing_later_than_a_photograph(gallery):
    with gradio.Blocks():
        events = Events(Desk(gallery), Layout())
    door = events.desk.look_at_indexed(gallery.store.sources()[0].path)
    for scene in (None, door):
        assert events.take_later(Visit(scene=scene), "0:00:01") == gradio.skip()


@pytest.mark.parametrize(
    ("start", "expected"), [(0.0, "h:mm:ss"), (NOON, "2026-05-01T12:00"), (None, "")]
)
def test_the_page_says_how_times_are_written(tmp_path, start, expected):
    with make_gallery(tmp_path, start or 0) as gallery, gradio.Blocks():
        if start is None:
            gallery.store.delete(gallery.store.sources()[2].path)
        assert describe_times(gallery.store) == expected
        events = Events(Desk(gallery), Layout())
        shown = events.welcome()
        for part in (events.parts.since, events.parts.until):
            assert shown[part]["placeholder"] == (expected or "nobody has a time")


def test_an_indexed_picture_needs_no_model(gallery):
    desk = Desk(gallery)
    door, _, street = [source.path for source in gallery.store.sources()]
    before = gallery.predictor.num_images
    scene = desk.look_at_indexed(door)
    assert gallery.predictor.num_images == before
    assert scene.name == "door.png" and scene.path == door and scene.time is None
    assert sorted(scene.boxes[:, 0].tolist()) == [10, 60]
    scene = desk.look_at_indexed(street, 1.2)
    assert (scene.name, scene.time) == ("street.avi · 0:00:01.5", 1.5)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish(), ["door.png", "yard.png", *["street.avi"] * 4]),
        (Wish(cameras=["yard", "door"]), ["door.png", "yard.png"]),
        (Wish(name="YARD"), ["yard.png"]),
        (Wish(name="nowhere"), []),
        (Wish(since="0:00:01.2", until="2.2"), ["street.avi", "street.avi"]),
        (Wish(count=1), ["door.png"]),
        (Wish(count=-5), ["door.png"]),
        (Wish(every_match=True), ["yard.png", *["door.png"] * 2, *["street.avi"] * 6]),
        (Wish(min_score=0.99, every_match=True, count=1e9), None),
    ],
)
def test_wishes_choose_the_matches(gallery, tmp_path, wish, expected):
    desk = Desk(gallery)
    person = desk.look_at_upload(write_image(tmp_path / "q.png", {RED: 5}), "q.png").choose(1)
    answer = desk.search(person, wish)
    names = [entry.source.rsplit("/", 1)[1] for entry in answer.detections]
    if expected is None:
        assert names and all(entry.score >= 0.99 for entry in answer.detections)
    else:
        assert sorted(names) == sorted(expected)
    assert answer.title == "person 1 of q.png"
    similarities = [match.similarity for match in answer.matches]
    assert similarities == sorted(similarities, reverse=True)


@pytest.mark.parametrize("time", ["noon", "nan", "inf"])
def test_a_wish_for_no_time_is_refused(gallery, time):
    desk = Desk(gallery)
    with pytest.raises(InputError, match=f"time: '{time}'; expected"):
        desk.search(choose_indexed(desk), Wish(since=time))


@pytest.mark.parametrize(("start", "time"), [(NOON, "0:00:10"), (0.0, "2026-05-01")])
def test_a_wish_for_a_time_of_the_other_kind_is_told(tmp_path, start, time):
    with make_gallery(tmp_path, start) as gallery:
        desk = Desk(gallery)
        for wish in (Wish(since=time), Wish(until=time)):
            with pytest.raises(InputError, match="expected a "):
                desk.search(choose_indexed(desk), wish)


@pytest.mark.parametrize(
    "wish", [Wish(since="0:01:00"), Wish(until="0.5"), Wish(since="2", until="1")]
)
def test_a_wish_for_a_time_when_nobody_was_seen_is_told(gallery, wish):
    desk = Desk(gallery)
    person = choose_indexed(desk)
    with pytest.raises(InputError, match="From, To: nobody of the gallery was seen then; .* h:mm"):
        desk.search(person, wish)
    assert not desk.search(person, replace(wish, since="", until="", name="nowhere")).matches
    gallery.store.delete(gallery.store.sources()[2].path)
    with pytest.raises(InputError, match="expected none: no detection has a time"):
        desk.search(person, wish)


def test_a_match_whose_file_changed_is_not_shown(gallery, tmp_path):
    desk = Desk(gallery)
    answer = desk.search(choose_indexed(desk), Wish(cameras=["yard"]))
    desk.show(answer.detections[0], answer)
    os.utime(answer.detections[0].source, ns=(1, 1))
    with pytest.raises(InputError, match="changed since it was indexed"):
        desk.show(answer.detections[0], answer)


def test_matches_whose_file_is_gone_keep_their_place(gallery, tmp_path):
    desk = Desk(gallery)
    answer = desk.search(choose_indexed(desk), Wish(cameras=["door", "yard"]))
    yard = next(entry for entry in answer.detections if entry.camera == "yard")
    (tmp_path / "media" / "yard.png").unlink()
    shown = {text.split("\n")[1]: tile for tile, text in desk.draw_matches(answer)}
    assert np.array_equal(shown["yard"], draw_missing(TILE_SIZE))
    assert not np.array_equal(shown["door"], draw_missing(TILE_SIZE))
    with pytest.raises(InputError, match=r"yard\.png"):
        desk.show(yard, answer)
    thumbnails = desk.draw_thumbnails([yard.source])
    assert np.array_equal(thumbnails[0][0], draw_missing(THUMBNAIL_SIZE))


def test_names_are_escaped():
    entry = StoredDetection(7, "/a/<b>x</b>.jpg", None, None, "<i>", (0, 0, 1, 1), 0.5, np.ones(1))
    text = name_match(1, entry) + describe_match(entry, 0.5)
    assert "<b>" not in text and "<i>" not in text and "&lt;i&gt;" in text


def test_without_gradio_the_page_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("clsa_search.page")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r"pip install 'clsa_search\[page\]'"):
        import clsa_search.page  # noqa: F401
