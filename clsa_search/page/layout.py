"""Components of the page and their positions; `events` connects them."""

from typing import Any

import gradio as gr

from clsa_search.page.session import MAX_MATCHES, SearchRequest

_CLICKABLE_IMAGES: dict[str, Any] = {
    "fit_columns": False,
    "allow_preview": False,
    "interactive": False,
    "show_label": False,
    "format": "jpeg",
    "buttons": [],
}


class Layout:
    """Components of the page by name; create it inside `gr.Blocks`."""

    def __init__(self) -> None:
        self.headline = gr.HTML(elem_id="headline", padding=False)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self._add_images()
                self._add_detections()
                self._add_filters()
            with gr.Column(scale=3, min_width=300):
                self._add_matches()
                self._add_details()

    @property
    def request(self) -> list[gr.components.Component]:
        """Fields of a `SearchRequest`, in its order."""
        return [
            *(self.cameras, self.path, self.since, self.until),
            *(self.min_score, self.every_match, self.count),
        ]

    def _add_images(self) -> None:
        gr.HTML("1 · Choose an image of the person", elem_classes="step", padding=False)
        with gr.Tabs():
            with gr.Tab("Upload or paste"):
                self.upload = gr.Image(
                    type="filepath",
                    sources=["upload", "clipboard"],
                    label="Image",
                    show_label=False,
                    height=190,
                    buttons=[],
                    elem_id="upload",
                )
            with gr.Tab("Gallery images"):
                self.source_filter = gr.Textbox(
                    "",
                    placeholder="part of the path, then Enter",
                    show_label=False,
                    container=False,
                    elem_id="source_filter",
                )
                self.sources = gr.Gallery(
                    columns=4,
                    **_CLICKABLE_IMAGES,
                    elem_id="sources",
                )
                with gr.Row(equal_height=True):
                    self.previous_page = gr.Button("‹ Previous", size="sm", min_width=60)
                    self.page_number = gr.HTML(elem_classes=["quiet", "centered"], padding=False)
                    self.next_page = gr.Button("Next ›", size="sm", min_width=60)

    def _add_detections(self) -> None:
        with gr.Column(visible=False) as self.detections_part:
            gr.HTML("2 · Click the person", elem_classes="step", padding=False)
            self.detections = gr.Image(
                interactive=False, format="jpeg", buttons=["fullscreen"], elem_id="detections"
            )
            self.number = gr.Radio([], label="or choose the number", elem_id="number")
            with gr.Row(visible=False) as self.time_part:
                self.time = gr.Textbox(
                    "",
                    label="Jump to time",
                    placeholder="h:mm:ss from the start of the video, then Enter",
                    scale=2,
                )
                self.next_frame = gr.Button("Next frame ›", size="sm", min_width=60)

    def _add_filters(self) -> None:
        default = SearchRequest()
        with gr.Accordion("Filters", open=True):
            with gr.Row():
                self.cameras = gr.Dropdown(
                    [],
                    multiselect=True,
                    label="Cameras",
                    info="empty: all cameras",
                    elem_id="cameras",
                )
                self.path = gr.Textbox(
                    "", label="File", info="part of the path", elem_id="path", max_lines=1
                )
            with gr.Row():
                self.since = gr.Textbox("", label="From", elem_id="since", max_lines=1)
                self.until = gr.Textbox("", label="To", elem_id="until", max_lines=1)
            with gr.Row():
                self.min_score = gr.Slider(
                    0, 1, default.min_score, step=0.01, label="Minimum detection score"
                )
                self.count = gr.Slider(
                    1, MAX_MATCHES, default.count, step=1, label="Number of matches"
                )
            self.every_match = gr.Checkbox(
                default.every_match,
                label="Show every match, not only the best of each image",
                elem_id="every",
            )

    def _add_matches(self) -> None:
        gr.HTML("3 · Matches", elem_classes="step", padding=False)
        with gr.Row(elem_id="query", visible=False) as self.query_part:
            self.query = gr.Image(
                interactive=False,
                format="jpeg",
                show_label=False,
                container=False,
                buttons=[],
                height=110,
                width=78,
                scale=0,
                min_width=78,
            )
            self.result = gr.HTML(elem_id="result", padding=False)
        self.hint = gr.HTML(
            "Choose an image and click a person in it. The most similar detections of the gallery "
            "appear here.",
            elem_classes="quiet",
            padding=False,
        )
        self.matches = gr.Gallery(
            columns=6,
            **_CLICKABLE_IMAGES,
            visible=False,
            elem_id="matches",
        )

    def _add_details(self) -> None:
        with gr.Column(visible=False, elem_id="details") as self.details_part:
            with gr.Row(equal_height=True):
                self.match_title = gr.HTML(padding=False)
                self.search_match = gr.Button(
                    "Search for this person",
                    variant="primary",
                    scale=0,
                    min_width=270,
                    elem_id="search_match",
                )
            self.frame = gr.Image(
                interactive=False,
                format="jpeg",
                show_label=False,
                buttons=["fullscreen"],
                elem_id="frame",
            )
            self.details = gr.HTML(padding=False)
