"""The searched person: query images, drawn boxes, stored detections, and their embeddings.

Shape letters: D embedding width.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from clsa_search.desk.api_models import FrameQuery, Person, QueryAnswer, Subject
from clsa_search.desk.footage import Footage
from clsa_search.desk.frame_detections import list_frame_detections
from clsa_search.desk.gallery_reader import GalleryReader, View
from clsa_search.desk.pictures import encode_jpeg, read_upload
from clsa_search.desk.query_shelf import QueryImage, QueryShelf
from clsa_search.desk.work_gates import Gate
from clsa_search.errors import InputError
from clsa_search.gallery import StoredDetection
from clsa_search.retrieval.gallery_search import GallerySearch, average_embeddings
from clsa_search.retrieval.predictor import check_boxes
from clsa_search.retrieval.search_answers import as_text, name_source, to_box
from clsa_search.retrieval.source_base import find_base
from clsa_search.retrieval.time_format import format_time
from clsa_search.structures import ImageDetections, PersonImage
from clsa_search.visualize import trim_to_tile
from clsa_search.wording import count_noun

Part = tuple[float, float, float, float]
"""A box XYXY in shares of the width and the height of an image."""

_QUALITY = 95  # of the JPEG of a kept frame


class QueryIntake:
    """Takes query images and computes embeddings; the model computes for one client at a time.

    Args:
        gallery: gallery with its model.
        footage: files of the gallery.
        records: detections of the gallery.
        model: bound of the model's work.
    """

    def __init__(
        self, gallery: GallerySearch, footage: Footage, records: GalleryReader, model: Gate
    ) -> None:
        self.shelf = QueryShelf()
        self._gallery = gallery
        self._footage = footage
        self._records = records
        self._model = model

    def add_upload(self, content: bytes, part: Part | None = None) -> QueryAnswer:
        """Detect the people of an uploaded image.

        Args:
            content: bytes of the image.
            part: XYXY in shares of width and height: this box is the only person.

        Raises:
            InputError: it is not a readable image, or the box is empty.
            Busy: too many wait for the model.
        """
        with self._model.enter():  # decoding takes memory, too
            image = read_upload(content)
            detections = self._detect(image, part)
        size = image.shape[1], image.shape[0]
        return self._keep(QueryImage("image", content, size, detections))

    def add_frame(self, request: FrameQuery, part: Part | None = None) -> QueryAnswer:
        """Take an indexed image or a frame of a video as a query.

        Args:
            request: source and moment.
            part: see `add_upload`.

        Raises:
            InputError: there is no such source, it has no such frame, or its file is gone.
        """
        path = self._footage.find_path(request.source)
        if request.seconds is None and part is None:
            return self._add_stored(list_frame_detections(self._gallery.store, path, request.after))
        frame, image = self._footage.read_moment(path, request.seconds or 0.0)
        with self._model.enter():
            detections = self._detect(image, part)
        size = image.shape[1], image.shape[0]
        content = encode_jpeg(image, _QUALITY)
        name = os.path.basename(path)
        time = self._find_time(path, frame)
        return self._keep(QueryImage(name, content, size, detections, (), path, frame, time))

    def read_views(self, subjects: Sequence[Subject]) -> list[View]:
        """Return the views of a person.

        Raises:
            InputError: a view does not exist.
        """
        return [self._read_view(one) for one in subjects]

    def forget_deleted(self, *, is_erased: bool) -> None:
        """Forget the frames with deleted detections, and after an erasure all frames."""

        def is_kept(image: QueryImage) -> bool:
            if is_erased:  # the model's detections of a frame may show the person
                return False
            try:
                self._gallery.store.get(image.ids)
            except InputError:
                return False
            return True

        self.shelf.forget_footage(is_kept)

    def show_subjects(self, subjects: Sequence[Subject]) -> list[PersonImage]:
        """Return small images of the views; missing ones are passed over."""
        shown = []
        for one in subjects:
            with suppress(InputError):  # a file is gone; the rest of the work goes on
                shown.append(trim_to_tile(self._show_subject(one)))  # whole images are large
        return shown

    def describe_subjects(self, subjects: Sequence[Subject]) -> list[dict[str, Any]]:
        """Return caption and box of each view, for the record of a search."""
        return [self._describe_subject(one) for one in subjects]

    def _describe_subject(self, subject: Subject) -> dict[str, Any]:
        if subject.person is not None:
            name = self._records.find_person(subject.person).name
            return {"caption": f"{name} of the watch list", "box": None}
        if subject.query is not None:
            query = self.shelf.get(subject.query)
            box = subject.box
            if subject.index is not None:
                box = query.detections.boxes[subject.index]
            assert box is not None
            return {"caption": as_text(query.name), "box": to_box(box)}
        detection = self._records.find_detection(self._find_shown(subject))
        texts = os.path.basename(detection.source), format_time(detection.time)
        return {"caption": as_text(" · ".join(filter(None, texts))), "box": to_box(detection.box)}

    def _find_shown(self, subject: Subject) -> int:
        """Return the detection to show of a detection or a tracklet."""
        if subject.tracklet is None:
            assert subject.detection is not None
            return subject.detection
        (tracklet,) = self._gallery.store.get_tracklets([subject.tracklet], embeddings=False)
        return tracklet.best

    def _read_view(self, subject: Subject) -> View:
        if subject.detection is not None:
            detection = self._records.find_detection(subject.detection)
            return View(detection.embedding, detection.time)
        if subject.tracklet is not None:
            self._records.find_tracklet(subject.tracklet)
            (tracklet,) = self._gallery.store.get_tracklets([subject.tracklet])
            assert tracklet.embedding is not None
            return View(tracklet.embedding, tracklet.first)
        if subject.person is not None:
            person = self._records.find_person(subject.person)
            return View(average_embeddings(list(person.examples)), None)
        assert subject.query is not None
        query = self.shelf.get(subject.query)
        if subject.index is not None:
            if subject.index >= len(query.detections):
                count = len(query.detections)
                found = count_noun(count, "detection")
                raise InputError(f"index: {subject.index}; expected one of the image's {found}")
            return View(query.detections.embeddings[subject.index], query.time)
        with self._model.enter():
            image = query.decode()
            assert subject.box is not None
            (box,) = check_boxes([subject.box], image)
            return View(self._gallery.predictor.embed(image, [box])[0], query.time)

    def _detect(self, image: np.ndarray, part: Part | None) -> ImageDetections:
        """Detect people, or take a given box as the only one."""
        if part is None:
            return self._gallery.detect(image)
        height, width = image.shape[:2]
        boxes = check_boxes([np.multiply(part, [width, height, width, height])], image)
        embeddings = self._gallery.predictor.embed(image, boxes)
        return ImageDetections(boxes, np.ones(1), embeddings)

    def _find_time(self, path: str, frame: int | None) -> float | None:
        """Return the time of a frame or an image in the stored times; None if it is not known."""
        source = self._records.find_source(name_source(path))
        if frame is None:
            return source.start
        return find_base(source) + frame / self._footage.read_facts(path).fps

    def _show_subject(self, subject: Subject) -> PersonImage:
        if subject.person is not None:
            raise InputError(f"person: {subject.person} has no image; expected another view")
        if subject.query is None:
            shown = self._find_shown(subject)
            return self._footage.read_person(self._records.find_detection(shown))
        query = self.shelf.get(subject.query)
        box = subject.box
        if subject.index is not None:
            box = query.detections.boxes[subject.index]
        return PersonImage(query.decode(), np.array(box, dtype=float), query.name)

    def _add_stored(self, stored: Sequence[StoredDetection]) -> QueryAnswer:
        first = stored[0]
        image = self._footage.read_frame(first.source, first.frame)
        detections = ImageDetections(
            boxes=np.array([one.box for one in stored]),
            scores=np.array([one.score for one in stored]),
            embeddings=np.stack([one.embedding for one in stored]),
        )
        texts = [os.path.basename(first.source), format_time(first.time)]
        query = QueryImage(
            " · ".join(filter(None, texts)),
            encode_jpeg(image, _QUALITY),
            (image.shape[1], image.shape[0]),
            detections,
            [one.detection_id for one in stored],
            first.source,
            first.frame,
            first.time,
        )
        return self._keep(query)

    def _keep(self, query: QueryImage) -> QueryAnswer:
        key = self.shelf.put(query)
        seconds = None
        if query.source is not None and query.frame is not None:
            seconds = query.frame / self._footage.read_facts(query.source).fps
        found = query.detections
        people = [
            Person(
                index=index,
                box=to_box(found.boxes[index]),
                score=float(found.scores[index]),
                detection=query.ids[index] if query.ids else None,
            )
            for index in range(len(found))
        ]
        return QueryAnswer(
            id=key,
            name=as_text(query.name),
            width=query.size[0],
            height=query.size[1],
            people=people,
            source=query.source and name_source(query.source),
            frame=query.frame,
            time=query.time,
            seconds=seconds,
        )
