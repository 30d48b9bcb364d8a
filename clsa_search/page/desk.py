"""What the page does, without the page: looking at pictures, choosing people, searching.

H x W a picture in pixels, m people of a picture, D width of a embedding.
"""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from clsa_search.page.source_list import list_people, match_sources
from clsa_search.page.texts import describe_times
from clsa_search.retrieval.frame_reader import read_frame
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.result_images import read_person_images
from clsa_search.retrieval.results import QueryResult
from clsa_search.retrieval.times import format_time, parse_time
from clsa_search.visualize import PersonImage, trim_to_tile

MOST_MATCHES = 60


@dataclass(frozen=True)
class Scene:
    """A picture whose people can be chosen."""

    name: str
    image: np.ndarray  # (H, W, 3), no larger than a browser needs it
    boxes: np.ndarray  # (m, 4) XYXY in its pixels
    scores: np.ndarray  # (m,)
    embeddings: np.ndarray  # (m, D)
    path: str | None = None  # of an indexed picture
    time: float | None = None

    def choose(self, number: int) -> "Person":
        """The person of a number from 1.

        Raises:
            InputError: there is no such person.
        """
        if not 1 <= number <= len(self.boxes):
            raise InputError(f"person: {number}; expected a number from 1 to {len(self.boxes)}")
        name = f"person {number} of {self.name}"
        sighting = PersonImage(self.image, self.boxes[number - 1], name)
        return Person(self.embeddings[number - 1], trim_to_tile(sighting))


@dataclass(frozen=True, eq=False)
class Person:
    """Who is searched for; equal to itself alone."""

    embedding: np.ndarray  # (D,)
    sighting: PersonImage  # trimmed


@dataclass(frozen=True)
class Wish:
    """What the page's fields say about the matches that are wanted."""

    cameras: Sequence[str] = ()  # none: all
    name: str = ""  # part of the path
    since: str = ""
    until: str = ""
    min_score: float = 0.0
    every_match: bool = False
    count: int = 12


class Desk:
    """Serves all visitors of a page, one after the other where the model computes."""

    def __init__(self, gallery: GallerySearch) -> None:
        self.gallery = gallery
        self._computing = threading.Lock()

    def look_at_upload(self, path: str, name: str) -> Scene:
        """The people that the model finds in an uploaded file.

        Raises:
            InputError: see `read_upload`.
        """
        image = read_upload(path, name)
        with self._computing:
            found = self.gallery.detect(image)
        return _as_scene(name, image, found.boxes, found.scores, found.embeddings)

    def look_at_indexed(self, path: str, since: float | None = None) -> Scene:
        """The people that are stored of an indexed picture; see `list_people`.

        Raises:
            InputError: there is nobody, or the file is gone.
        """
        people = list_people(self.gallery.store, path, since)
        image = read_frame(people[0].source, people[0].frame)
        scene = _as_scene(
            _name(people[0]),
            image,
            np.array([entry.box for entry in people]),
            np.array([entry.score for entry in people]),
            np.stack([entry.embedding for entry in people]),
        )
        return replace(scene, path=path, time=people[0].time)

    def search(self, person: Person, wish: Wish) -> QueryResult:
        """
        Raises:
            InputError: a time is none, or nobody at all was seen at the times.
        """
        count, where = min(max(int(wish.count), 1), MOST_MATCHES), self._as_filter(wish)
        answer = self.gallery.search_by_embedding(
            person.embedding,
            [person.sighting],
            count,
            where,
            "match" if wish.every_match else "image",
            person.sighting.caption,
        )
        times = Filter(since=where.since, until=where.until)
        if not answer.matches and times != Filter() and not self.gallery.store.count(times):
            known = describe_times(self.gallery.store) or "none: no detection has a time"
            raise InputError(f"From, To: nobody of the gallery was seen then; expected {known}")
        return answer

    def draw_matches(self, answer: QueryResult) -> list[tuple[np.ndarray, str]]:
        """A tile of each match, and what stands under it."""
        tiles = {
            entry.detection_id: draw_tile(found)
            if isinstance(found, PersonImage)
            else draw_missing(TILE_SIZE)
            for entry, found in read_person_images(answer.detections, answer.fingerprints)
        }
        return [
            (
                tiles[match.detection.detection_id],
                f"{rank} · {match.similarity:.2f}\n{_describe(match.detection)}",
            )
            for rank, match in enumerate(answer.matches, 1)
        ]

    def draw_thumbnails(self, paths: Sequence[str]) -> list[tuple[np.ndarray, str]]:
        """Indexed pictures, and what stands under them."""
        return [(self._draw_thumbnail(path), os.path.basename(path)) for path in paths]

    def show(self, entry: StoredDetection, answer: QueryResult) -> PersonImage:
        """A match of an answer in its whole scene.

        Raises:
            InputError: the file is gone, or shows something else by now.
        """
        ((_, found),) = read_person_images([entry], answer.fingerprints)
        if isinstance(found, InputError):
            raise found
        return found

    def _draw_thumbnail(self, path: str) -> np.ndarray:
        try:
            (first, *_) = list_people(self.gallery.store, path)
            return draw_thumbnail(read_frame(first.source, first.frame))
        except InputError:
            return draw_missing(THUMBNAIL_SIZE)

    def _as_filter(self, wish: Wish) -> Filter:
        store = self.gallery.store
        return Filter(
            cameras=list(wish.cameras) or None,
            sources=match_sources(store, wish.name) if wish.name.strip() else None,
            since=parse_time(wish.since) if wish.since.strip() else None,
            until=parse_time(wish.until) if wish.until.strip() else None,
            min_score=wish.min_score or None,
        )


def choose_at(boxes: np.ndarray, x: float, y: float) -> int:
    """Index of the smallest of the boxes (m, 4) that holds a point, else of the nearest."""
    outside = np.maximum(boxes[:, :2] - (x, y), (x, y) - boxes[:, 2:]).clip(0)
    distances = np.hypot(*outside.T)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return int(np.lexsort([areas, distances])[0])


def _as_scene(
    name: str,
    image: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    embeddings: np.ndarray,
) -> Scene:
    shown = fit_browser(image)
    height, width = np.divide(shown.shape[:2], image.shape[:2])
    return Scene(name, shown, boxes * (width, height, width, height), scores, embeddings)


def _name(entry: StoredDetection) -> str:
    """File and time."""
    return " · ".join(filter(None, [os.path.basename(entry.source), format_time(entry.time)]))


def _describe(entry: StoredDetection) -> str:
    """Camera, file and time, each on its line."""
    texts = [entry.camera, os.path.basename(entry.source), format_time(entry.time)]
    return "\n".join(filter(None, texts))
