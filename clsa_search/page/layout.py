"""The parts of the page and where they stand; what happens with them is in `events`."""

import gradio as gr

from clsa_search.page.desk import MOST_MATCHES, Wish

_OF_PICTURES = {  # that are chosen by a click
    "fit_columns": False,
    "allow_preview": False,
    "interactive": False,
    "show_label": False,
    "format": "jpeg",
    "buttons": [],
}


class Layout:
    """Its components, by name; made inside `gr.Blocks`."""

    def __init__(self) -> None:
        self.headline = gr.HTML(elem_id="headline", padding=False)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self._lay_picture()
                self._lay_people()
                self._lay_filters()
            with gr.Column(scale=3, min_width=300):
                self._lay_matches()
                self._lay_details()

    @property
    def wish(self) -> list[gr.components.Component]:
        """The fields of a `Wish`, in its order."""
        return [
            *(self.cameras, self.name, self.since, self.until),
            *(self.min_score, self.every_match, self.count),
        ]

    def _lay_picture(self) -> None:
        gr.HTML("1 · A picture of the person", elem_classes="step", padding=False)
        with gr.Tabs():
            with gr.Tab("Upload or paste"):
                self.upload = gr.Image(
                    type="filepath",
                    sources=["upload", "clipboard"],
                    label="Picture",
                    show_label=False,
                    height=190,
                    buttons=[],
                    elem_id="upload",
                )
            with gr.Tab("Indexed pictures"):
                self.sought = gr.Textbox(
                    "",
                    placeholder="part of the file's name, then Enter",
                    show_label=False,
                    container=False,
                    elem_id="sought",
                )
                self.shelf = gr.Gallery(
                    columns=4,
                    **_OF_PICTURES,
                    elem_id="shelf",
                )
                with gr.Row(equal_height=True):
                    self.back = gr.Button("‹ Back", size="sm", min_width=60)
                    self.page = gr.HTML(elem_classes=["quiet", "centered"], padding=False)
                    self.forward = gr.Button("Forward ›", size="sm", min_width=60)

    def _lay_people(self) -> None:
        with gr.Column(visible=False) as self.people_part:
            gr.HTML("2 · Click the person", elem_classes="step", padding=False)
            self.people = gr.Image(
                interactive=False, format="jpeg", buttons=["fullscreen"], elem_id="people"
            )
            self.number = gr.Radio([], label="or choose the number", elem_id="number")
            with gr.Row(visible=False) as self.time_part:
                self.time = gr.Textbox(
                    "",
                    label="Later in the video",
                    placeholder="h:mm:ss from its beginning, then Enter",
                    scale=2,
                )
                self.later = gr.Button("Next people ›", size="sm", min_width=60)

    def _lay_filters(self) -> None:
        default = Wish()
        with gr.Accordion("Filters", open=True):
            with gr.Row():
                self.cameras = gr.Dropdown(
                    [], multiselect=True, label="Cameras", info="none: all", elem_id="cameras"
                )
                self.name = gr.Textbox(
                    "", label="File", info="part of its path", elem_id="name", max_lines=1
                )
            with gr.Row():
                self.since = gr.Textbox("", label="From", elem_id="since", max_lines=1)
                self.until = gr.Textbox("", label="To", elem_id="until", max_lines=1)
            with gr.Row():
                self.min_score = gr.Slider(0, 1, default.min_score, step=0.01, label="Least score")
                self.count = gr.Slider(1, MOST_MATCHES, default.count, step=1, label="Matches")
            self.every_match = gr.Checkbox(
                default.every_match,
                label="Every match, not only the best of each picture",
                elem_id="every",
            )

    def _lay_matches(self) -> None:
        gr.HTML("3 · Where they are", elem_classes="step", padding=False)
        with gr.Row(elem_id="asked", visible=False) as self.asked_part:
            self.asked = gr.Image(
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
            self.answer = gr.HTML(elem_id="answer", padding=False)
        self.hint = gr.HTML(
            "Choose a picture and click a person in it: the most similar people of the gallery "
            "appear here.",
            elem_classes="quiet",
            padding=False,
        )
        self.matches = gr.Gallery(
            columns=6,
            **_OF_PICTURES,
            visible=False,
            elem_id="matches",
        )

    def _lay_details(self) -> None:
        with gr.Column(visible=False, elem_id="details") as self.details_part:
            with gr.Row(equal_height=True):
                self.opened = gr.HTML(padding=False)
                self.go_on = gr.Button(
                    "Search with this person",
                    variant="primary",
                    scale=0,
                    min_width=270,
                    elem_id="go_on",
                )
            self.frame = gr.Image(
                interactive=False,
                format="jpeg",
                show_label=False,
                buttons=["fullscreen"],
                elem_id="frame",
            )
            self.details = gr.HTML(padding=False)
