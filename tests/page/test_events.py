"""Listeners of the page without a server, and the texts that they show."""

from datetime import datetime

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page is built with Gradio, which is not installed")

import gradio

from clsa_search.errors import InputError
from clsa_search.gallery import StoredDetection
from clsa_search.page.events import Events
from clsa_search.page.layout import Layout
from clsa_search.page.service import PageService
from clsa_search.page.session import SessionState
from clsa_search.page.texts import describe_match, describe_times, name_match
from tests.support.page_cases import make_gallery

NOON = datetime(2026, 5, 1, 12).timestamp()


@pytest.mark.parametrize("start", [0.0, 600.0, NOON, NOON + 0.1234567])
def test_times_to_jump_to_count_from_the_start_of_the_video(tmp_path, start):
    with make_gallery(tmp_path, start) as gallery, gradio.Blocks():
        events = Events(PageService(gallery), Layout())
        street = gallery.store.sources()[2].path
        state = SessionState(query_image=events.service.load_indexed(street))

        def jump_to(text):
            return events.jump_to_time(state, text)[events.state].query_image.time - start

        for text, expected in (("0", 1), ("1.1", 1.5), ("0:00:01.5", 1.5), ("0:00:02", 2)):
            assert jump_to(text) == pytest.approx(expected), text
        with pytest.raises(InputError, match="has no detection from then on"):
            jump_to("0:00:03")
        if start == NOON:
            assert jump_to("2026-05-01T12:00:02") == pytest.approx(2)


def test_images_have_no_time_to_jump_to(tmp_path):
    with make_gallery(tmp_path) as gallery, gradio.Blocks():
        events = Events(PageService(gallery), Layout())
        door = events.service.load_indexed(gallery.store.sources()[0].path)
        for query_image in (None, door):
            state = SessionState(query_image=query_image)
            assert events.jump_to_time(state, "0:00:01") == gradio.skip()


@pytest.mark.parametrize(
    ("start", "expected"), [(0.0, "h:mm:ss"), (NOON, "2026-05-01T12:00"), (None, "")]
)
def test_the_page_shows_the_format_of_the_stored_times(tmp_path, start, expected):
    with make_gallery(tmp_path, start or 0) as gallery, gradio.Blocks():
        if start is None:
            gallery.store.delete(gallery.store.sources()[2].path)
        assert describe_times(gallery.store) == expected
        events = Events(PageService(gallery), Layout())
        changes = events.show_gallery()
        for component in (events.layout.since, events.layout.until):
            assert changes[component]["placeholder"] == (expected or "no detection has a time")


def test_names_are_escaped():
    detection = StoredDetection(
        7, "/a/<b>x</b>.jpg", None, None, "<i>", (0, 0, 1, 1), 0.5, np.ones(1)
    )
    text = name_match(1, detection) + describe_match(detection, 0.5)
    assert "<b>" not in text and "<i>" not in text and "&lt;i&gt;" in text
