"""Work behind the page, without Gradio: read images, detect, search, draw results."""

import os
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, StoredDetection
from clsa_search.page.page_images import (
    THUMBNAIL_SIZE,
    TILE_SIZE,
    draw_missing,
    draw_thumbnail,
    draw_tile,
    fit_browser,
    read_upload,
)
from clsa_search.page.session import MAX_MATCHES, Query, QueryImage, SearchRequest
from clsa_search.page.source_list import list_frame_detections, match_sources
from clsa_search.page.texts import describe_times
from clsa_search.retrieval.filter_checks import check_times
from clsa_search.retrieval.frame_reader import read_frame
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.result_images import read_person_images
from clsa_search.retrieval.results import QueryResult
from clsa_search.retrieval.time_format import format_time, parse_time
from clsa_search.structures import ImageDetections, PersonImage


class PageService:
    """Serves all sessions of a page; the model computes for one of them at a time.

    Args:
        gallery: gallery to search.
    """

    def __init__(self, gallery: GallerySearch) -> None:
        self.gallery = gallery
        self._model_lock = threading.Lock()

    def load_upload(self, path: str, name: str) -> QueryImage:
        """Read an uploaded file and detect its people.

        Raises:
            InputError: see `read_upload`.
        """
        image = read_upload(path, name)
        with self._model_lock:
            detections = self.gallery.detect(image)
        return _as_query_image(name, image, detections)

    def load_indexed(self, path: str, since: float | None = None) -> QueryImage:
        """Read an indexed image or video frame with its stored detections.

        Args:
            path: path of the file.
            since: see `list_frame_detections`.

        Raises:
            InputError: there are no detections, or the file is gone.
        """
        stored = list_frame_detections(self.gallery.store, path, since)
        image = read_frame(stored[0].source, stored[0].frame)
        detections = ImageDetections(
            boxes=np.array([detection.box for detection in stored]),
            scores=np.array([detection.score for detection in stored]),
            embeddings=np.stack([detection.embedding for detection in stored]),
        )
        query_image = _as_query_image(_name_frame(stored[0]), image, detections)
        return replace(query_image, path=path, time=stored[0].time)

    def search(self, query: Query, request: SearchRequest) -> QueryResult:
        """Search the gallery.

        Raises:
            InputError: a time is malformed, "From" is later than "To", or the gallery has no
                detection at these times.
        """
        count, where = min(max(int(request.count), 1), MAX_MATCHES), self._as_filter(request)
        check_times(self.gallery.store, where, since="From", until="To")
        result = self.gallery.search_by_embedding(
            query.embedding,
            [query.person],
            count,
            where,
            "match" if request.every_match else "image",
            query.person.caption,
        )
        times = Filter(since=where.since, until=where.until)
        if not result.matches and times != Filter() and not self.gallery.store.count(times):
            expected = describe_times(self.gallery.store) or "none: no detection has a time"
            raise InputError(f"From, To: no detection at these times; expected {expected}")
        return result

    def draw_matches(self, result: QueryResult) -> list[tuple[np.ndarray, str]]:
        """Return a tile and its caption for each match."""
        tiles = {
            detection.detection_id: draw_tile(person)
            if isinstance(person, PersonImage)
            else draw_missing(TILE_SIZE)
            for detection, person in read_person_images(result.detections, result.fingerprints)
        }
        return [
            (
                tiles[match.detection.detection_id],
                f"{rank} · {match.similarity:.2f}\n{_caption(match.detection)}",
            )
            for rank, match in enumerate(result.matches, start=1)
        ]

    def draw_thumbnails(self, paths: Sequence[str]) -> list[tuple[np.ndarray, str]]:
        """Return a thumbnail and the file name of each indexed file."""
        return [(self._draw_thumbnail(path), os.path.basename(path)) for path in paths]

    def read_match(self, detection: StoredDetection, result: QueryResult) -> PersonImage:
        """Read the whole image of a match.

        Raises:
            InputError: the file is gone or has changed.
        """
        ((_, person),) = read_person_images([detection], result.fingerprints)
        if isinstance(person, InputError):
            raise person
        return person

    def _draw_thumbnail(self, path: str) -> np.ndarray:
        try:
            (first, *_) = list_frame_detections(self.gallery.store, path)
            return draw_thumbnail(read_frame(first.source, first.frame))
        except InputError:
            return draw_missing(THUMBNAIL_SIZE)

    def _as_filter(self, request: SearchRequest) -> Filter:
        store = self.gallery.store
        return Filter(
            cameras=list(request.cameras) or None,
            sources=match_sources(store, request.path) if request.path.strip() else None,
            since=parse_time(request.since) if request.since.strip() else None,
            until=parse_time(request.until) if request.until.strip() else None,
            min_score=request.min_score or None,
        )


def choose_at(boxes: np.ndarray, x: float, y: float) -> int:
    """Return the index of the smallest box around a point, or of the nearest box.

    Args:
        boxes: (M, 4) XYXY, at least one.
        x: horizontal position in the frame of the boxes.
        y: vertical position in the frame of the boxes.
    """
    outside = np.maximum(boxes[:, :2] - (x, y), (x, y) - boxes[:, 2:]).clip(0)
    distances = np.hypot(*outside.T)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return int(np.lexsort([areas, distances])[0])


def _as_query_image(name: str, image: np.ndarray, detections: ImageDetections) -> QueryImage:
    """Shrink the image for a browser, and its boxes with it."""
    shown = fit_browser(image)
    height, width = np.divide(shown.shape[:2], image.shape[:2])
    boxes = detections.boxes * (width, height, width, height)
    return QueryImage(name, shown, replace(detections, boxes=boxes))


def _name_frame(detection: StoredDetection) -> str:
    """Return file name and time."""
    texts = [os.path.basename(detection.source), format_time(detection.time)]
    return " · ".join(filter(None, texts))


def _caption(detection: StoredDetection) -> str:
    """Return camera, file name and time, a line each."""
    texts = [detection.camera, os.path.basename(detection.source), format_time(detection.time)]
    return "\n".join(filter(None, texts))
