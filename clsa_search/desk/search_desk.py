"""The desk of a gallery: all parts behind the routes."""

import os
import time
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from clsa_search.desk.api_models import SearchRequest
from clsa_search.desk.desk_metrics import Metrics
from clsa_search.desk.drawing import DrawingBoard
from clsa_search.desk.footage import Footage
from clsa_search.desk.gallery_jobs import GalleryJobs
from clsa_search.desk.gallery_reader import GalleryReader
from clsa_search.desk.query_intake import QueryIntake
from clsa_search.desk.timeline import Timeline
from clsa_search.desk.work_gates import Gate
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.index_options import IndexOptions
from clsa_search.retrieval.search_answers import SearchAnswer, describe_answer
from clsa_search.retrieval.watch_reports import WatchOptions


class SearchDesk:
    """Serves all clients of a gallery.

    Args:
        gallery: gallery to search; keep it open as long as the desk.
        folders: paths of the folders to look for new files in.
        options: options of indexing these.
        watch: options of the watch list.

    Attributes:
        store: storage of the gallery.
        footage: its files.
        records: lists, lookups and searches.
        timeline: coverage by the footage.
        queries: the searched people.
        drawing: boxes that are drawn, to be stored.
        jobs: long work.
        metrics: numbers of this run.
        num_followers: number of clients that follow a job.
        timezone: IANA name of the time zone to show times in, if known.
    """

    def __init__(
        self,
        gallery: GallerySearch,
        folders: Sequence[str] = (),
        options: IndexOptions | None = None,
        watch: WatchOptions | None = None,
    ) -> None:
        self.store = gallery.store
        self.timezone = find_timezone()
        self.footage = Footage(gallery)
        self.records = GalleryReader(gallery, self.footage, self.timezone)
        self.timeline = Timeline(self.store, self.footage)
        model = Gate("model", slots=1, waiting=8)
        self.queries = QueryIntake(gallery, self.footage, self.records, model)
        self.drawing = DrawingBoard(gallery, self.footage, model)
        self.jobs = GalleryJobs(
            gallery, folders, options or IndexOptions(), watch or WatchOptions()
        )
        self.metrics = Metrics()
        self.num_followers = 0

    def search(self, request: SearchRequest) -> SearchAnswer:
        """Search the gallery for a person.

        Raises:
            InputError: a view does not exist, or the filter matches nothing in the gallery.
        """
        views = self.queries.read_views(request.of)
        begin = time.perf_counter()
        result = self.records.search(request, views)
        self.metrics.count_search(time.perf_counter() - begin)
        return describe_answer(result)

    def close(self) -> None:
        """End the jobs, and forget images in memory."""
        self.jobs.queue.close()
        self.footage.forget()
        self.queries.shelf.clear()

    def forget_deleted(self, *, is_erased: bool) -> None:
        """Forget what is in memory of deleted sightings; uploaded images stay."""
        self.footage.forget()
        self.queries.forget_deleted(is_erased=is_erased)


def find_timezone() -> str | None:
    """Return the IANA name of this machine's time zone, such as "Europe/Berlin", if it tells it."""
    name = os.environ.get("TZ") or os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    try:
        return name if name and ZoneInfo(name) else None
    except (ValueError, OSError, KeyError):  # of ZoneInfo, for names of other forms
        return None
