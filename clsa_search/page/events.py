"""Listeners of the page, connected in `wiring`.

Each returns a dictionary of the components to change; all others stay as they are.
"""

import html
import os
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np

from clsa_search.errors import InputError
from clsa_search.page.layout import Layout
from clsa_search.page.page_images import draw_frame, draw_tile
from clsa_search.page.request_checks import as_point, find_upload, pick, read_index
from clsa_search.page.service import PageService, choose_at
from clsa_search.page.session import NO_RESULT, Query, QueryImage, SearchRequest, SessionState
from clsa_search.page.source_list import browse, find_time
from clsa_search.page.texts import (
    describe_gallery,
    describe_match,
    describe_result,
    describe_times,
    name_match,
)
from clsa_search.visualize import draw_numbered_boxes, trim_to_tile

_MOMENT = 1e-3  # seconds, shorter than any frame

Changes = dict[gr.blocks.Block, Any]


class Events:
    """Listeners of a page.

    Args:
        service: work behind the page.
        layout: components of the page.
    """

    def __init__(self, service: PageService, layout: Layout) -> None:
        self.service = service
        self.layout = layout
        self.state = gr.State(SessionState())

    def show_gallery(self) -> Changes:
        """Show the current content of the gallery."""
        store = self.service.gallery.store
        times = gr.update(placeholder=describe_times(store) or "no detection has a time")
        return {
            self.layout.headline: describe_gallery(store),
            self.layout.cameras: gr.update(choices=store.cameras()),
            self.layout.since: times,
            self.layout.until: times,
        }

    def list_sources(self, state: SessionState, text: str) -> Changes:
        """Show the first page of the indexed files with a text in their path."""
        return self._show_sources(state, text, 0)

    def show_previous_page(self, state: SessionState, text: str) -> Changes:
        """Show the previous page of the indexed files."""
        return self._show_sources(state, text, state.page - 1)

    def show_next_page(self, state: SessionState, text: str) -> Changes:
        """Show the next page of the indexed files."""
        return self._show_sources(state, text, state.page + 1)

    def load_upload(self, state: SessionState, file: dict | None) -> Changes:
        """Detect people in an uploaded or pasted image."""
        if not file:
            return gr.skip()
        name = os.path.basename(file.get("orig_name") or "the image")
        try:
            path = find_upload(self.layout.upload.GRADIO_CACHE, file, name)
            query_image = self.service.load_upload(path, name)
        except InputError as error:
            warn(error)
            return {self.layout.upload: None}
        return {self.layout.upload: None, **self._show_query_image(state, query_image)}

    def load_source(self, state: SessionState, event: gr.EventData) -> Changes:
        """Show the detections of an indexed file."""
        path = pick(state.paths, read_index(event))
        return self._show_query_image(state, self.service.load_indexed(path))

    def jump_to_time(self, state: SessionState, text: str) -> Changes:
        """Show the first frame of the video with detections from a time on."""
        shown = state.query_image
        if shown is None or shown.time is None or shown.path is None:
            return gr.skip()
        return self._show_frame(state, find_time(self.service.gallery.store, shown.path, text))

    def show_next_frame(self, state: SessionState) -> Changes:
        """Show the next frame of the video with detections."""
        time = state.query_image.time if state.query_image else None
        return self._show_frame(state, None if time is None else time + _MOMENT)

    def choose_by_click(self, state: SessionState, event: gr.EventData) -> Changes:
        """Choose the person at a point of the image with numbers."""
        shown = state.query_image
        if shown is None or not len(shown.detections):
            return gr.skip()
        scale = _draw_numbers(shown).shape[1] / shown.image.shape[1]
        x, y = np.divide(as_point(read_index(event)), scale)
        return self._choose(state, choose_at(shown.detections.boxes, x, y) + 1)

    def choose_by_number(self, state: SessionState, number: int | None) -> Changes:
        """Choose the person with a number."""
        return gr.skip() if number is None else self._choose(state, number)

    def choose_match(self, state: SessionState) -> Changes:
        """Choose the person of the open match."""
        detection = pick(state.result.detections, state.opened)
        person = trim_to_tile(self.service.read_match(detection, state.result))
        query = Query(detection.embedding, person)
        return {self.state: replace(state, query=query), self.layout.number: None}

    def search(self, state: SessionState, *fields: Any) -> Changes:
        """Search, if the person or the request has changed."""
        request = SearchRequest(*fields)
        if state.query is None:
            return self._hide_matches(state)
        if state.searched == (state.query, request):
            return gr.skip()
        result = self.service.search(state.query, request)
        searched = (state.query, request)
        layout = self.layout
        return {
            self.state: replace(state, result=result, searched=searched, opened=None),
            layout.hint: gr.update(visible=False),
            layout.query_part: gr.update(visible=True),
            layout.query: draw_tile(state.query.person),
            layout.result: describe_result(result),
            layout.matches: gr.update(
                value=self.service.draw_matches(result), visible=True, selected_index=None
            ),
            layout.details_part: gr.update(visible=False),
        }

    def open_match(self, state: SessionState, event: gr.EventData) -> Changes:
        """Show the details of a match and its whole image."""
        index = read_index(event)
        match = pick(state.result.matches, index)
        layout = self.layout
        return {
            self.state: replace(state, opened=index),
            layout.details_part: gr.update(visible=True),
            layout.frame: draw_frame(self.service.read_match(match.detection, state.result)),
            layout.match_title: name_match(index + 1, match.detection),
            layout.details: describe_match(match.detection, match.similarity),
        }

    def _show_sources(self, state: SessionState, text: str, page: int) -> Changes:
        sources = browse(self.service.gallery.store, text, page)
        layout = self.layout
        return {
            self.state: replace(state, paths=tuple(sources.paths), page=sources.page),
            layout.sources: gr.update(
                value=self.service.draw_thumbnails(sources.paths), selected_index=None
            ),
            layout.page_number: f"page {sources.page + 1} of {sources.pages}",
            layout.previous_page: gr.update(interactive=sources.page > 0),
            layout.next_page: gr.update(interactive=sources.page + 1 < sources.pages),
        }

    def _show_query_image(self, state: SessionState, query_image: QueryImage) -> Changes:
        """Show a new image; choose its person if there is only one."""
        count = len(query_image.detections)
        if not count:
            min_score = self.service.gallery.predictor.min_score
            warn(f"{query_image.name}: no detection with a score of {min_score:g} or more")
        query = query_image.choose(1) if count == 1 else None
        layout = self.layout
        return {
            self.state: replace(state, query_image=query_image, query=query, searched=None),
            layout.detections_part: gr.update(visible=True),
            layout.detections: gr.update(value=_draw_numbers(query_image), label=query_image.name),
            layout.number: gr.update(
                choices=list(range(1, count + 1)), value=1 if query else None, visible=count > 1
            ),
            layout.time_part: gr.update(visible=query_image.time is not None),
        }

    def _show_frame(self, state: SessionState, since: float | None) -> Changes:
        if state.query_image is None or state.query_image.path is None:
            return gr.skip()
        query_image = self.service.load_indexed(state.query_image.path, since)
        return self._show_query_image(state, query_image)

    def _choose(self, state: SessionState, number: int) -> Changes:
        if state.query_image is None:
            return gr.skip()
        query = state.query_image.choose(number)
        return {self.state: replace(state, query=query), self.layout.number: number}

    def _hide_matches(self, state: SessionState) -> Changes:
        layout = self.layout
        hidden = layout.query_part, layout.matches, layout.details_part
        return {
            self.state: replace(state, result=NO_RESULT, opened=None),
            layout.hint: gr.update(visible=True),
            **{part: gr.update(visible=False) for part in hidden},
        }


def _draw_numbers(query_image: QueryImage) -> np.ndarray:
    detections = query_image.detections
    return draw_numbered_boxes(query_image.image, detections.boxes, detections.scores)


def warn(message: object) -> None:
    """Show a message to the user."""
    gr.Warning(html.escape(str(message)), title="Not possible")
