"""Work behind the API, without HTTP: queries, searches, lists, in the shapes of the API."""

import os
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from clsa_search import __version__
from clsa_search.data.image_io import read_image_size
from clsa_search.desk.api_models import (
    FrameQuery,
    GalleryAnswer,
    MatchAnswer,
    MediaAnswer,
    Person,
    QueryAnswer,
    SearchAnswer,
    SearchRequest,
    SourceAnswer,
    SourcesAnswer,
    Subject,
    TrackAnswer,
    TrackBox,
    TrackletAnswer,
    TrackletsAnswer,
)
from clsa_search.desk.footage import Footage, guess_media_type, is_video, name_source
from clsa_search.desk.frame_detections import list_frame_detections
from clsa_search.desk.http_errors import NotFound
from clsa_search.desk.pictures import encode_jpeg, read_upload
from clsa_search.desk.query_shelf import QueryImage, QueryShelf
from clsa_search.desk.work_gates import Gate
from clsa_search.errors import InputError
from clsa_search.gallery import Filter, Source, StoredDetection, Tracklet
from clsa_search.retrieval.filter_checks import check_filter, check_times
from clsa_search.retrieval.gallery_search import GallerySearch, average_embeddings
from clsa_search.retrieval.predictor import check_boxes
from clsa_search.retrieval.time_format import format_time
from clsa_search.structures import ImageDetections

LEAD_SECONDS = 2.0
"""Seconds of a clip before the first and after the last detection."""

LINGER_SECONDS = 0.5
"""Seconds that a box is shown before and after its detection."""


class SearchDesk:
    """Serves all clients of a gallery; the model computes for one of them at a time.

    Args:
        gallery: gallery to search.
    """

    def __init__(self, gallery: GallerySearch) -> None:
        self.gallery = gallery
        self.store = gallery.store
        self.footage = Footage(gallery)
        self.shelf = QueryShelf()
        self._model = Gate("model", slots=1, waiting=8)

    def describe(self) -> GalleryAnswer:
        """Describe the gallery."""
        first = self.store.list(Filter(since=-1e12), order_by="time", limit=1)
        return GalleryAnswer(
            name=as_text(os.path.basename(self.store.address)),
            detections=self.store.count(),
            tracklets=self.store.count_tracklets(),
            sources=len(self.store.paths()),
            cameras=[as_text(camera) for camera in self.store.cameras()],
            first=first[0].time if first else None,
            timezone=find_timezone(),
            min_score=self.gallery.predictor.min_score,
            version=__version__,
        )

    def add_upload(self, content: bytes) -> QueryAnswer:
        """Detect the people of an uploaded image.

        Raises:
            InputError: it is not a readable image.
            Busy: too many wait for the model.
        """
        with self._model.enter():  # decoding takes memory, too
            image = read_upload(content)
            detections = self.gallery.detect(image)
        size = image.shape[1], image.shape[0]
        return self._keep(QueryImage("image", content, size, detections))

    def add_frame(self, request: FrameQuery) -> QueryAnswer:
        """Take an indexed image or a frame of a video as a query.

        Raises:
            InputError: there is no such source, it has no such frame, or its file is gone.
        """
        path = self.footage.find_path(request.source)
        if request.seconds is None:
            return self._add_stored(list_frame_detections(self.store, path, request.after))
        frame, image = self.footage.read_moment(path, request.seconds)
        with self._model.enter():
            detections = self.gallery.detect(image)
        size = image.shape[1], image.shape[0]
        content = encode_jpeg(image, quality=95)
        name = os.path.basename(path)
        return self._keep(QueryImage(name, content, size, detections, (), path, frame))

    def search(self, request: SearchRequest) -> SearchAnswer:
        """Search the gallery for a person.

        Raises:
            InputError: a view does not exist, or the filter matches nothing in the gallery.
        """
        embedding = average_embeddings([self._embed(one) for one in request.of])
        where = Filter(
            cameras=request.cameras or None,
            sources=[self.footage.find_path(one) for one in request.sources or ()] or None,
            since=request.since,
            until=request.until,
            min_score=request.min_score or None,
        )
        if request.per == "sighting":
            return self._search_sightings(embedding, request.limit, where)
        with self.store.snapshot():
            found = self.gallery.search_by_embedding(
                embedding, [], request.limit, where, request.per
            )
            searched = self.store.count(where)
        matches = [
            match_answer(rank, match.similarity, match.detection)
            for rank, match in enumerate(found.matches, start=1)
        ]
        return SearchAnswer(searched=searched, matches=matches)

    def list_tracklets(self, where: Filter, offset: int, limit: int) -> TrackletsAnswer:
        """List sightings, earliest first.

        Raises:
            InputError: the filter matches nothing in the gallery.
        """
        check_filter(self.store, where)
        with self.store.snapshot():
            found = self.store.tracklets(where, "time", limit, offset)
            total = self.store.count_tracklets(where)
        return TrackletsAnswer(total=total, tracklets=[tracklet_answer(one) for one in found])

    def find_tracklet(self, tracklet_id: int) -> list[StoredDetection]:
        """Return the detections of a sighting, earliest first.

        Raises:
            NotFound: there is none.
        """
        try:
            found = self.store.tracklet_detections(tracklet_id)
        except InputError as error:
            message = f"tracklet: there is no {tracklet_id}; expected the id of a sighting"
            raise NotFound(message) from error
        return sorted(found, key=lambda one: (one.frame or 0, one.detection_id))

    def list_sources(self, text: str, offset: int, limit: int) -> SourcesAnswer:
        """List the sources with a text in their path, in upper or lower case."""
        wanted = text.strip().casefold()
        found = [one for one in self.store.sources() if wanted in one.path.casefold()]
        part = [describe_source(one) for one in found[offset : offset + limit]]
        return SourcesAnswer(total=len(found), sources=part)

    def find_source(self, source_id: str) -> Source:
        """Return a source.

        Raises:
            NotFound: there is none.
        """
        path = self.footage.find_path(source_id)
        for one in self.store.sources():
            if one.path == path:
                return one
        raise NotFound(f"source: {source_id} is not in the gallery; expected one of it")

    def find_detection(self, detection_id: int) -> StoredDetection:
        """Return a stored detection.

        Raises:
            NotFound: there is none.
        """
        try:
            (detection,) = self.store.get([detection_id])
        except InputError as error:
            raise NotFound(
                f"detection: there is no {detection_id}; expected a stored one"
            ) from error
        return detection

    def describe_media(self, source_id: str) -> MediaAnswer:
        """Describe a source with the facts of its file's header.

        Raises:
            NotFound: there is no such source.
        """
        source = self.find_source(source_id)
        about: dict[str, Any] = {"media_type": guess_media_type(source.path)}
        try:
            self.footage.check_file(source.path)
            if is_video(source.path):
                facts = self.footage.read_facts(source.path)
                about |= {"fps": facts.fps, "seconds": facts.seconds}
        except InputError as error:
            about["fault"] = as_text(str(error))
        return MediaAnswer(**describe_source(source).model_dump(), **about)

    def describe_track(self, detections: Sequence[StoredDetection]) -> TrackAnswer:
        """Describe where and when a person is seen.

        Args:
            detections: detections in one source, earliest first.
        """
        first = detections[0]
        seconds = [0.0] * len(detections)
        about: dict[str, Any] = {}
        try:
            seconds = self._locate(detections)
            if not is_video(first.source):
                about["width"], about["height"] = read_image_size(first.source)
        except InputError as error:
            about["fault"] = as_text(str(error))
        boxes = [
            TrackBox(detection=one.detection_id, seconds=when, time=one.time, box=to_box(one.box))
            for one, when in zip(detections, seconds, strict=True)
        ]
        return TrackAnswer(
            source=name_source(first.source),
            name=as_text(os.path.basename(first.source)),
            kind="video" if is_video(first.source) else "image",
            camera=None if first.camera is None else as_text(first.camera),
            boxes=boxes,
            **about,
        )

    def draw_clip(self, detections: Sequence[StoredDetection]) -> bytes:
        """Return the seconds around some detections as an animated image with their boxes.

        Args:
            detections: detections in one video, earliest first.

        Raises:
            InputError: the source is an image, or its file is gone or changed.
        """
        path = detections[0].source
        if not is_video(path):
            raise InputError(f"source: {as_text(path)} is an image; expected a video")
        seconds = self._locate(detections)
        boxes = np.array([one.box for one in detections])

        def locate(moment: float) -> np.ndarray | None:
            """Return the box between the detections around a moment."""
            if not seconds[0] - LINGER_SECONDS <= moment <= seconds[-1] + LINGER_SECONDS:
                return None
            return np.array([np.interp(moment, seconds, side) for side in boxes.T])

        start = max(0.0, seconds[0] - LEAD_SECONDS)
        return self.footage.read_clip(path, start, seconds[-1] + LEAD_SECONDS, locate)

    def close(self) -> None:
        """Close open videos, and forget the query images."""
        self.footage.close()
        self.shelf.clear()

    def _locate(self, detections: Sequence[StoredDetection]) -> list[float]:
        """Return the seconds of detections from the beginning of their file; 0 in an image."""
        path = detections[0].source
        if not is_video(path):
            self.footage.check_file(path)
            return [0.0] * len(detections)
        fps = self.footage.read_facts(path).fps
        return [(one.frame or 0) / fps for one in detections]

    def _search_sightings(self, embedding: np.ndarray, limit: int, where: Filter) -> SearchAnswer:
        """Return the sightings that are most alike."""
        with self.store.snapshot():
            check_filter(self.store, where)
            check_times(self.store, where)
            hits = self.store.search_tracklets(embedding[None], limit, where)
            tracklets = self.store.get_tracklets(hits.ids[0], embeddings=False)
            best = self.store.get([one.best for one in tracklets])
            searched = self.store.count_tracklets(where)
        triples = zip(hits.similarities[0].tolist(), best, tracklets, strict=True)
        matches = [match_answer(rank, *one) for rank, one in enumerate(triples, start=1)]
        return SearchAnswer(searched=searched, matches=matches)

    def _embed(self, subject: Subject) -> np.ndarray:
        """Return the embedding (D,) of one view of the person."""
        if subject.detection is not None:
            return self.find_detection(subject.detection).embedding
        if subject.tracklet is not None:
            self.find_tracklet(subject.tracklet)
            (tracklet,) = self.store.get_tracklets([subject.tracklet])
            assert tracklet.embedding is not None
            return tracklet.embedding
        assert subject.query is not None
        query = self.shelf.get(subject.query)
        if subject.index is not None:
            if subject.index >= len(query.detections):
                count = len(query.detections)
                raise InputError(f"index: {subject.index}; the image has {count} detections")
            return query.detections.embeddings[subject.index]
        with self._model.enter():
            image = query.decode()
            assert subject.box is not None
            (box,) = check_boxes([subject.box], image)
            return self.gallery.predictor.embed(image, [box])[0]

    def _add_stored(self, stored: Sequence[StoredDetection]) -> QueryAnswer:
        first = stored[0]
        image = self.footage.read_frame(first.source, first.frame)
        detections = ImageDetections(
            boxes=np.array([one.box for one in stored]),
            scores=np.array([one.score for one in stored]),
            embeddings=np.stack([one.embedding for one in stored]),
        )
        texts = [os.path.basename(first.source), format_time(first.time)]
        query = QueryImage(
            " · ".join(filter(None, texts)),
            encode_jpeg(image, quality=95),
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
            seconds = query.frame / self.footage.read_facts(query.source).fps
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


def match_answer(
    rank: int, similarity: float, best: StoredDetection, tracklet: Tracklet | None = None
) -> MatchAnswer:
    """Return a match in the shape of the API.

    Args:
        rank: rank from 1.
        similarity: similarity to the query.
        best: detection to show.
        tracklet: the sighting; None for a single detection.
    """
    return MatchAnswer(
        rank=rank,
        similarity=float(similarity),
        tracklet=tracklet and tracklet.tracklet_id,
        detection=best.detection_id,
        detections=tracklet.detections if tracklet else 1,
        source=name_source(best.source),
        name=as_text(os.path.basename(best.source)),
        camera=None if best.camera is None else as_text(best.camera),
        first=tracklet.first if tracklet else best.time,
        last=tracklet.last if tracklet else best.time,
        frame=best.frame,
        time=best.time,
        box=to_box(best.box),
        score=float(best.score),
    )


def tracklet_answer(tracklet: Tracklet) -> TrackletAnswer:
    """Return a sighting in the shape of the API."""
    return TrackletAnswer(
        tracklet=tracklet.tracklet_id,
        source=name_source(tracklet.source),
        name=as_text(os.path.basename(tracklet.source)),
        camera=None if tracklet.camera is None else as_text(tracklet.camera),
        first=tracklet.first,
        last=tracklet.last,
        detections=tracklet.detections,
        best=tracklet.best,
        purity=tracklet.purity,
    )


def describe_source(source: Source) -> SourceAnswer:
    """Return a source in the shape of the API."""
    return SourceAnswer(
        id=name_source(source.path),
        name=as_text(os.path.basename(source.path)),
        path=as_text(source.path),
        kind="video" if is_video(source.path) else "image",
        detections=source.detections,
        complete=source.is_complete,
    )


def to_box(box: Sequence[float] | np.ndarray) -> tuple[float, float, float, float]:
    """Return a box as four numbers of Python."""
    x0, y0, x1, y1 = (round(float(value), 2) for value in box)
    return x0, y0, x1, y1


def find_timezone() -> str | None:
    """Return the IANA name of this machine's time zone, such as "Europe/Berlin", if it tells it."""
    name = os.environ.get("TZ") or os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    try:
        return name if name and ZoneInfo(name) else None
    except (ValueError, OSError, KeyError):  # of ZoneInfo, for names of other forms
        return None


def as_text(name: str) -> str:
    """Return a name that can be sent; file names may hold bytes of no text."""
    return name.encode(errors="replace").decode()
