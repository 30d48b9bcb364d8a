"""What happens when a visitor uses the page.

Listeners give a dictionary of the parts that change; all others stay as they are.
"""

import functools
import html
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np

from clsa_search.errors import InputError
from clsa_search.page.desk import Desk, Person, Scene, Wish, choose_at
from clsa_search.page.layout import Layout
from clsa_search.page.page_images import draw_frame, draw_tile
from clsa_search.page.request_checks import as_point, find_upload, pick
from clsa_search.page.source_list import browse, find_time
from clsa_search.page.texts import (
    describe_answer,
    describe_gallery,
    describe_match,
    describe_times,
    name_match,
)
from clsa_search.retrieval.results import QueryResult
from clsa_search.visualize import draw_numbered_boxes, trim_to_tile

_A_MOMENT = 1e-3  # seconds, shorter than any frame lasts
_HOW = {"api_visibility": "private", "show_progress": "minimal"}  # of all listeners
_SHOW_DETAILS = """() => setTimeout(() => document.querySelector('#details')
  ?.scrollIntoView({behavior: 'smooth', block: 'nearest'}), 150)"""
_SHOW_MATCHES = """() => setTimeout(() => document.querySelector('#asked')
  ?.scrollIntoView({behavior: 'smooth', block: 'nearest'}), 150)"""

Changes = dict[gr.blocks.Block, Any]


@dataclass(frozen=True)
class Visit:
    """What a visitor has done so far."""

    paths: tuple[str, ...] = ()  # of the indexed pictures that are shown to pick from
    page: int = 0
    scene: Scene | None = None
    person: Person | None = None
    answer: QueryResult | None = None
    asked: tuple[Person, Wish] | None = None  # that was answered
    opened: int | None = None  # index of the match that is looked at


def _told(listener: Callable[..., Changes]) -> Callable[..., Changes]:
    """Faults of what a visitor gave are told to the visitor, and change nothing."""

    @functools.wraps(listener)
    def listen(*args: Any) -> Changes:
        try:
            return listener(*args)
        except InputError as error:
            _tell(error)
            return gr.skip()

    return listen


class Events:
    """The listeners of a page."""

    def __init__(self, desk: Desk, parts: Layout) -> None:
        self.desk = desk
        self.parts = parts
        self.visit = gr.State(Visit())

    def connect(self, page: gr.Blocks) -> None:
        """Let each part call its listener."""
        parts, visit = self.parts, self.visit
        shelf = [visit, parts.shelf, parts.page, parts.back, parts.forward]
        number = [visit, parts.number]
        scene = [*number, parts.upload, parts.people_part, parts.people, parts.time_part]
        sought = [visit, parts.sought]
        about = [parts.headline, parts.cameras, parts.since, parts.until]
        self._on([page.load], self.welcome, [], about)
        self._on([page.load, parts.sought.submit], self.seek, sought, shelf)
        self._on([parts.back.click], self.turn_back, sought, shelf)
        self._on([parts.forward.click], self.turn_forward, sought, shelf)
        for trigger, listener, inputs, outputs in (
            (parts.shelf.select, self.take_indexed, [visit], scene),
            (parts.time.submit, self.take_later, [visit, parts.time], scene),
            (parts.later.click, self.take_next, [visit], scene),
            (parts.people.select, self.choose_by_click, [visit], number),
            (parts.number.input, self.choose_by_number, number, number),
            (parts.go_on.click, self.choose_match, [visit], number),
        ):
            self._then_search(self._on([trigger], listener, inputs, outputs))
        # the file as it is, not as Gradio would decode it
        upload = self._on(
            [parts.upload.input], self.take_upload, [visit, parts.upload], scene, preprocess=False
        )
        self._then_search(upload)
        self._connect_matches()

    def _connect_matches(self) -> None:
        parts = self.parts
        fields = [parts.cameras.input, parts.every_match.input]
        fields += [parts.min_score.release, parts.count.release]
        for text in (parts.name, parts.since, parts.until):
            fields += [text.submit, text.blur]
        self._on(fields, self.search, [self.visit, *parts.wish], self._answer)
        details = [self.visit, parts.details_part, parts.opened, parts.frame, parts.details]
        opened = self._on([parts.matches.select], self.open_match, [self.visit], details)
        opened.then(None, js=_SHOW_DETAILS, **_HOW)

    @property
    def _answer(self) -> list[gr.blocks.Block]:
        parts = self.parts
        return [
            *(self.visit, parts.hint, parts.asked_part, parts.asked, parts.answer),
            *(parts.matches, parts.details_part),
        ]

    def _on(
        self,
        triggers: list[Callable],
        listener: Callable[..., Changes],
        inputs: list[gr.blocks.Block],
        outputs: list[gr.blocks.Block],
        **how: Any,
    ) -> gr.events.Dependency:
        return gr.on(triggers, _told(listener), inputs, outputs, **_HOW, **how)

    def _then_search(self, chosen: gr.events.Dependency) -> None:
        searched = chosen.then(
            _told(self.search), [self.visit, *self.parts.wish], self._answer, **_HOW
        )
        searched.then(None, js=_SHOW_MATCHES, **_HOW)

    def welcome(self) -> Changes:
        """What the gallery holds at this moment."""
        store = self.desk.gallery.store
        times = gr.update(placeholder=describe_times(store) or "nobody has a time")
        return {
            self.parts.headline: describe_gallery(store),
            self.parts.cameras: gr.update(choices=store.cameras()),
            self.parts.since: times,
            self.parts.until: times,
        }

    def seek(self, visit: Visit, sought: str) -> Changes:
        return self._show_shelf(visit, sought, 0)

    def turn_back(self, visit: Visit, sought: str) -> Changes:
        return self._show_shelf(visit, sought, visit.page - 1)

    def turn_forward(self, visit: Visit, sought: str) -> Changes:
        return self._show_shelf(visit, sought, visit.page + 1)

    def take_upload(self, visit: Visit, file: dict | None) -> Changes:
        """Find the people of an uploaded or pasted picture."""
        if not file:
            return gr.skip()
        name = os.path.basename(file.get("orig_name") or "the picture")
        try:
            path = find_upload(self.parts.upload.GRADIO_CACHE, file, name)
            scene = self.desk.look_at_upload(path, name)
        except InputError as error:
            _tell(error)
            return {self.parts.upload: None}
        return {self.parts.upload: None, **self._show_scene(visit, scene)}

    def take_indexed(self, visit: Visit, event: gr.SelectData) -> Changes:
        """Show the people of a picture of the gallery."""
        path = pick(visit.paths, event.index)
        return self._show_scene(visit, self.desk.look_at_indexed(path))

    def take_later(self, visit: Visit, text: str) -> Changes:
        """Go on to a time of the video."""
        scene = visit.scene
        if scene is None or scene.time is None:
            return gr.skip()
        return self._move(visit, find_time(self.desk.gallery.store, scene.path, text))

    def take_next(self, visit: Visit) -> Changes:
        """Go on to the next frame of the video that shows people."""
        now = visit.scene.time if visit.scene else None
        return self._move(visit, None if now is None else now + _A_MOMENT)

    def choose_by_click(self, visit: Visit, event: gr.SelectData) -> Changes:
        """Take the person at a point of the picture with the numbers."""
        if visit.scene is None or not len(visit.scene.boxes):
            return gr.skip()
        scale = _number(visit.scene).shape[1] / visit.scene.image.shape[1]
        x, y = np.divide(as_point(event.index), scale)
        return self._choose(visit, choose_at(visit.scene.boxes, x, y) + 1)

    def choose_by_number(self, visit: Visit, number: int | None) -> Changes:
        return gr.skip() if number is None else self._choose(visit, number)

    def choose_match(self, visit: Visit) -> Changes:
        """Go on with the match that is looked at."""
        entry = pick(visit.answer.detections if visit.answer else (), visit.opened)
        person = Person(entry.embedding, trim_to_tile(self.desk.show(entry, visit.answer)))
        return {self.visit: replace(visit, person=person), self.parts.number: None}

    def search(self, visit: Visit, *fields: Any) -> Changes:
        """QueryResult, if the person or a wish is another than before."""
        wish = Wish(*fields)
        if visit.person is None:
            return self._show_nothing(visit)
        if visit.asked == (visit.person, wish):
            return gr.skip()
        answer = self.desk.search(visit.person, wish)
        parts = self.parts
        return {
            self.visit: replace(visit, answer=answer, asked=(visit.person, wish), opened=None),
            parts.hint: gr.update(visible=False),
            parts.asked_part: gr.update(visible=True),
            parts.asked: draw_tile(visit.person.sighting),
            parts.answer: describe_answer(answer),
            parts.matches: gr.update(
                value=self.desk.draw_matches(answer), visible=True, selected_index=None
            ),
            parts.details_part: gr.update(visible=False),
        }

    def open_match(self, visit: Visit, event: gr.SelectData) -> Changes:
        """Show a match in its whole scene."""
        answer = visit.answer
        match = pick(answer.matches if answer else (), event.index)
        return {
            self.visit: replace(visit, opened=event.index),
            self.parts.details_part: gr.update(visible=True),
            self.parts.frame: draw_frame(self.desk.show(match.detection, answer)),
            self.parts.opened: name_match(event.index + 1, match.detection),
            self.parts.details: describe_match(match.detection, match.similarity),
        }

    def _show_shelf(self, visit: Visit, sought: str, page: int) -> Changes:
        shelf = browse(self.desk.gallery.store, sought, page)
        return {
            self.visit: replace(visit, paths=tuple(shelf.paths), page=shelf.page),
            self.parts.shelf: gr.update(
                value=self.desk.draw_thumbnails(shelf.paths), selected_index=None
            ),
            self.parts.page: f"page {shelf.page + 1} of {shelf.pages}",
            self.parts.back: gr.update(interactive=shelf.page > 0),
            self.parts.forward: gr.update(interactive=shelf.page + 1 < shelf.pages),
        }

    def _show_scene(self, visit: Visit, scene: Scene) -> Changes:
        """A new picture; of one person only, this one is taken."""
        count = len(scene.boxes)
        if not count:
            least = self.desk.gallery.predictor.min_score
            _tell(f"{scene.name}: nobody is found with score {least:g} or more")
        person = scene.choose(1) if count == 1 else None
        numbers = list(range(1, count + 1))
        return {
            self.visit: replace(visit, scene=scene, person=person, asked=None),
            self.parts.people_part: gr.update(visible=True),
            self.parts.people: gr.update(value=_number(scene), label=scene.name),
            self.parts.number: gr.update(
                choices=numbers, value=1 if person else None, visible=count > 1
            ),
            self.parts.time_part: gr.update(visible=scene.time is not None),
        }

    def _move(self, visit: Visit, since: float | None) -> Changes:
        if visit.scene is None or visit.scene.path is None:
            return gr.skip()
        return self._show_scene(visit, self.desk.look_at_indexed(visit.scene.path, since))

    def _choose(self, visit: Visit, number: int) -> Changes:
        if visit.scene is None:
            return gr.skip()
        person = visit.scene.choose(number)
        return {self.visit: replace(visit, person=person), self.parts.number: number}

    def _show_nothing(self, visit: Visit) -> Changes:
        parts = self.parts
        hidden = parts.asked_part, parts.matches, parts.details_part
        return {
            self.visit: replace(visit, answer=None, opened=None),
            parts.hint: gr.update(visible=True),
            **{part: gr.update(visible=False) for part in hidden},
        }


def _number(scene: Scene) -> np.ndarray:
    return draw_numbered_boxes(scene.image, scene.boxes, scene.scores)


def _tell(message: object) -> None:
    gr.Warning(html.escape(str(message)), title="That did not work")
