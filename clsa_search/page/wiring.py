"""Connections between the components of the page and their listeners."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from clsa_search.errors import InputError
from clsa_search.page.events import Changes, Events, warn

_OPTIONS: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
_SCROLL_TO = """() => setTimeout(() => document.querySelector('#{}')
  ?.scrollIntoView({{behavior: 'smooth', block: 'nearest'}}), 150)"""


def connect(events: Events, page: gr.Blocks) -> None:
    """Connect each component to its listener."""
    layout, state = events.layout, events.state
    listed = [state, layout.source_filter]
    sources = [state, layout.sources, layout.page_number, layout.previous_page, layout.next_page]
    about = [layout.headline, layout.cameras, layout.since, layout.until]
    _on([page.load], events.show_gallery, [], about)
    _on([page.load, layout.source_filter.submit], events.list_sources, listed, sources)
    _on([layout.previous_page.click], events.show_previous_page, listed, sources)
    _on([layout.next_page.click], events.show_next_page, listed, sources)
    number = [state, layout.number]
    image = [*number, layout.upload, layout.detections_part, layout.detections, layout.time_part]
    for trigger, listener, inputs, outputs in (
        (layout.sources.select, events.load_source, [state], image),
        (layout.time.submit, events.jump_to_time, [state, layout.time], image),
        (layout.next_frame.click, events.show_next_frame, [state], image),
        (layout.detections.select, events.choose_by_click, [state], number),
        (layout.number.input, events.choose_by_number, number, number),
        (layout.search_match.click, events.choose_match, [state], number),
    ):
        _then_search(events, _on([trigger], listener, inputs, outputs))
    # Gradio would decode the image; `load_upload` checks and reads the file itself
    upload = _on(
        [layout.upload.input], events.load_upload, [state, layout.upload], image, preprocess=False
    )
    _then_search(events, upload)
    _connect_matches(events)


def _connect_matches(events: Events) -> None:
    layout, state = events.layout, events.state
    fields = [layout.cameras.input, layout.every_match.input]
    fields += [layout.min_score.release, layout.count.release]
    for text in (layout.path, layout.since, layout.until):
        fields += [text.submit, text.blur]
    _on(fields, events.search, [state, *layout.request], _list_result_parts(events))
    details = [state, layout.details_part, layout.match_title, layout.frame, layout.details]
    opened = _on([layout.matches.select], events.open_match, [state], details)
    opened.then(None, js=_SCROLL_TO.format("details"), **_OPTIONS)


def _then_search(events: Events, chosen: gr.events.Dependency) -> None:
    searched = chosen.then(
        _report_errors(events.search),
        [events.state, *events.layout.request],
        _list_result_parts(events),
        **_OPTIONS,
    )
    searched.then(None, js=_SCROLL_TO.format("query"), **_OPTIONS)


def _list_result_parts(events: Events) -> list[gr.blocks.Block]:
    layout = events.layout
    return [
        *(events.state, layout.hint, layout.query_part, layout.query, layout.result),
        *(layout.matches, layout.details_part),
    ]


def _on(
    triggers: list[Callable],
    listener: Callable[..., Changes],
    inputs: Sequence[gr.blocks.Block],
    outputs: Sequence[gr.blocks.Block],
    **options: Any,
) -> gr.events.Dependency:
    return gr.on(
        triggers, _report_errors(listener), list(inputs), list(outputs), **_OPTIONS, **options
    )


def _report_errors(listener: Callable[..., Changes]) -> Callable[..., Changes]:
    """Show an InputError of a listener to the user, and change nothing."""

    @functools.wraps(listener)
    def listen(*args: Any) -> Changes:
        try:
            return listener(*args)
        except InputError as error:
            warn(error)
            return gr.skip()

    return listen
