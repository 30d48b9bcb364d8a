"""Records of a session on the page: query images, queries, requests, state.

Shape letters: H x W an image in pixels, D embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clsa_search.errors import InputError
from clsa_search.retrieval.results import QueryResult
from clsa_search.structures import ImageDetections, PersonImage
from clsa_search.visualize import trim_to_tile

MAX_MATCHES = 60
NO_RESULT = QueryResult(title="", query_images=(), matches=[])


@dataclass(frozen=True, eq=False)
class Query:
    """A person to search for; equal to itself only.

    Args:
        embedding: (D,) unit length.
        person: image of the person, trimmed.
    """

    embedding: np.ndarray
    person: PersonImage


@dataclass(frozen=True)
class QueryImage:
    """An image to choose a person from.

    Args:
        name: name of the image for people.
        image: (H, W, 3) RGB uint8, no larger than a browser needs.
        detections: detections of the image, boxes in its pixels.
        path: path of an indexed file, None for an upload.
        time: time of a video frame, seconds.
    """

    name: str
    image: np.ndarray
    detections: ImageDetections
    path: str | None = None
    time: float | None = None

    def choose(self, number: int) -> Query:
        """Return the query for a detection.

        Args:
            number: number of the detection, from 1.

        Raises:
            InputError: there is no such detection.
        """
        if not 1 <= number <= len(self.detections):
            raise InputError(
                f"person: {number}; expected a number from 1 to {len(self.detections)}"
            )
        caption = f"person {number} of {self.name}"
        person = PersonImage(self.image, self.detections.boxes[number - 1], caption)
        return Query(self.detections.embeddings[number - 1], trim_to_tile(person))


@dataclass(frozen=True)
class SearchRequest:
    """Fields of the page that choose the matches to show.

    Args:
        cameras: names of cameras; empty for all.
        path: part of the path of the file; empty for all.
        since: earliest time as text; empty for no limit.
        until: latest time as text; empty for no limit.
        min_score: minimum detection score.
        every_match: whether to show all matches of an image and not only the best.
        count: number of matches.
    """

    cameras: Sequence[str] = ()
    path: str = ""
    since: str = ""
    until: str = ""
    min_score: float = 0.0
    every_match: bool = False
    count: int = 12


@dataclass(frozen=True)
class SessionState:
    """State of one browser session.

    Args:
        paths: paths of the indexed files on the current page of the list.
        page: number of this page, from 0.
        query_image: image to choose a person from.
        query: chosen person.
        result: result of the last search, NO_RESULT before the first.
        searched: query and request of this result.
        opened: index of the match with open details.
    """

    paths: tuple[str, ...] = ()
    page: int = 0
    query_image: QueryImage | None = None
    query: Query | None = None
    result: QueryResult = NO_RESULT
    searched: tuple[Query, SearchRequest] | None = None
    opened: int | None = None
