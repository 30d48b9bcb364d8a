"""What the gallery holds, in the shapes of the API: lists, lookups, searches."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clsa_search import __version__
from clsa_search.desk.answers import source_answer, tracklet_answer
from clsa_search.desk.api_models import SearchRequest
from clsa_search.desk.footage import Footage
from clsa_search.desk.gallery_models import GalleryAnswer, SourcesAnswer, TrackletsAnswer
from clsa_search.desk.http_errors import NotFound
from clsa_search.desk.job_models import FolderAnswer
from clsa_search.desk.verdict_models import VerdictsAnswer, verdicts_answer
from clsa_search.errors import InputError
from clsa_search.gallery import Filter, Source, StoredDetection
from clsa_search.retrieval.filter_checks import check_filter, check_times
from clsa_search.retrieval.gallery_search import GallerySearch, average_embeddings
from clsa_search.retrieval.results import QueryResult
from clsa_search.retrieval.search_answers import as_text
from clsa_search.retrieval.sighting_search import SightingChoice
from clsa_search.retrieval.watch_list import Person, list_people


class View(NamedTuple):
    """A view of the searched person.

    Args:
        embedding: (D,) of unit length.
        time: time of the image in seconds; None if unknown.
    """

    embedding: np.ndarray
    time: float | None


class GalleryReader:
    """Reads a gallery for its clients.

    Args:
        gallery: gallery to search.
        footage: files of the gallery.
        timezone: name of the time zone to show times in, if known.
    """

    def __init__(self, gallery: GallerySearch, footage: Footage, timezone: str | None) -> None:
        self._gallery = gallery
        self._store = gallery.store
        self._footage = footage
        self._timezone = timezone

    def describe(self, folders: list[FolderAnswer]) -> GalleryAnswer:
        """Describe the gallery and the folders of the desk."""
        faults = self._gallery.judge.load().fault, self._gallery.judge.load_verdicts().fault
        return GalleryAnswer(
            name=as_text(os.path.basename(self._store.address)),
            detections=self._store.count(),
            tracklets=self._store.count_tracklets(),
            sources=len(self._store.paths()),
            cameras=[as_text(camera) for camera in self._store.cameras()],
            timezone=self._timezone,
            min_score=self._gallery.predictor.min_score,
            folders=folders,
            version=__version__,
            verdicts=self.count_verdicts(),
            problems=[as_text(one) for one in faults if one],
        )

    def make_filter(self, request: SearchRequest) -> Filter:
        """Return the filter of a search.

        Raises:
            NotFound: a source is not in the gallery.
        """
        return Filter(
            cameras=request.cameras or None,
            sources=[self._footage.find_path(one) for one in request.sources or ()] or None,
            since=request.since,
            until=request.until,
            min_score=request.min_score or None,
        )

    def search(self, request: SearchRequest, views: Sequence[View]) -> QueryResult:
        """Search the gallery for a person.

        Args:
            request: filters and form of the search.
            views: views of the person.

        Raises:
            InputError: the filter matches nothing in the gallery.
        """
        where = self.make_filter(request)
        choice = None
        if request.per == "tracklet":
            choice = SightingChoice(request.max_strangers, request.same, request.others)
        return self._gallery.search_by_embedding(
            average_embeddings([one.embedding for one in views]),
            [],
            request.limit,
            where,
            request.per,
            choice=choice,
            query_times=[one.time for one in views],
        )

    def count_verdicts(self) -> VerdictsAnswer:
        """Count the user's verdicts of all searches."""
        return verdicts_answer(self._gallery.judge.load_verdicts())

    def list_tracklets(self, where: Filter, offset: int, limit: int) -> TrackletsAnswer:
        """List sightings, earliest first.

        Raises:
            InputError: the filter matches nothing in the gallery.
        """
        check_filter(self._store, where)
        check_times(self._store, where)
        with self._store.snapshot():
            found = self._store.tracklets(where, "time", limit, offset)
            total = self._store.count_tracklets(where)
        return TrackletsAnswer(total=total, tracklets=[tracklet_answer(one) for one in found])

    def check_tracklets(self, tracklets: Sequence[int]) -> None:
        """Check that sightings are stored.

        Raises:
            NotFound: there is no such sighting.
        """
        try:
            self._store.get_tracklets(tracklets, embeddings=False)
        except InputError:
            for one in tracklets:
                self.find_tracklet(one)  # names the missing one
            raise

    def find_tracklet(self, tracklet_id: int) -> list[StoredDetection]:
        """Return the detections of a sighting, earliest first.

        Raises:
            NotFound: there is none.
        """
        try:
            found = self._store.tracklet_detections(tracklet_id)
        except InputError as error:
            message = f"tracklet: there is no {tracklet_id}; expected the id of a sighting"
            raise NotFound(message) from error
        return sorted(found, key=lambda one: (one.frame or 0, one.detection_id))

    def list_sources(self, text: str, offset: int, limit: int) -> SourcesAnswer:
        """List the sources with a text in their path, in upper or lower case."""
        wanted = text.strip().casefold()
        found = [one for one in self._store.sources() if wanted in one.path.casefold()]
        part = [source_answer(one) for one in found[offset : offset + limit]]
        return SourcesAnswer(total=len(found), sources=part)

    def find_source(self, source_id: str) -> Source:
        """Return a source.

        Raises:
            NotFound: there is none.
        """
        path = self._footage.find_path(source_id)
        for one in self._store.sources():
            if one.path == path:
                return one
        raise NotFound(f"source: {source_id} is not in the gallery; expected one of it")

    def find_person(self, person_id: int) -> Person:
        """Return a person of the watch list.

        Raises:
            NotFound: there is none.
        """
        for person in list_people(self._store):
            if person.person_id == person_id:
                return person
        raise NotFound(f"person: there is no {person_id}; expected one of the watch list")

    def find_detection(self, detection_id: int) -> StoredDetection:
        """Return a stored detection.

        Raises:
            NotFound: there is none.
        """
        try:
            (detection,) = self._store.get([detection_id])
        except InputError as error:
            raise NotFound(
                f"detection: there is no {detection_id}; expected a stored one"
            ) from error
        return detection
