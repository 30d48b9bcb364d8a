"""The jobs of a gallery: index footage, calibrate, link.

A job has a connection of its own to the gallery: searches do not wait for its transactions.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from clsa_search.desk.http_errors import NotFound
from clsa_search.desk.job_models import FolderAnswer, JobRequest
from clsa_search.desk.job_queue import Job, JobQueue, JobReport, Work
from clsa_search.gallery import GalleryStore, open_store
from clsa_search.retrieval.gallery_calibration import calibrate_gallery, refresh_calibration
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.index_options import IndexOptions
from clsa_search.retrieval.index_updates import update_gallery
from clsa_search.retrieval.results import count_sightings
from clsa_search.retrieval.retention import apply_retention
from clsa_search.retrieval.search_answers import as_text, name_source
from clsa_search.retrieval.source_files import list_media
from clsa_search.retrieval.watch_reports import WatchOptions, compare_watched, report_hits
from clsa_search.sightings.source_links import link_sources
from clsa_search.wording import count_noun


class GalleryJobs:
    """Starts the jobs of a gallery.

    No path comes from a client: new files are looked for in the folders of the desk alone.

    Args:
        gallery: gallery with its model.
        folders: paths of the folders to look for new files in.
        options: options of indexing these.
        watch: options of the watch list.

    Attributes:
        queue: the jobs.
    """

    def __init__(
        self,
        gallery: GallerySearch,
        folders: Sequence[str],
        options: IndexOptions,
        watch: WatchOptions,
    ) -> None:
        self.queue = JobQueue()
        self._gallery = gallery
        self._folders = {name_source(path): path for path in folders}
        self._options = options
        self._watch = watch

    def list_folders(self) -> list[FolderAnswer]:
        """Return the folders to look for new files in."""
        return [
            FolderAnswer(id=number, name=as_text(os.path.basename(path) or path))
            for number, path in self._folders.items()
        ]

    def add(self, request: JobRequest) -> Job:
        """Add a job.

        Raises:
            NotFound: there is no such folder.
            Busy: too many jobs wait already.
        """
        if request.folder is not None and request.folder not in self._folders:
            raise NotFound(f"folder: there is no {request.folder}; expected one of the gallery's")
        works: dict[str, Work] = {
            "index": partial(self._index, request.folder),
            "calibrate": self._calibrate,
            "link": partial(self._link, request.again),
        }
        return self.queue.add(request.kind, works[request.kind])

    def _index(self, folder: str | None, report: JobReport) -> str:
        folders: Mapping[str, str] = self._folders
        if folder is not None:
            folders = {folder: self._folders[folder]}
        with self._open() as store:
            paths = [] if folder is not None else store.paths()
            if folders:
                media = list_media(list(folders.values()))
                for _, reason in media.problems:
                    report.note_problem(reason)
                paths = list(dict.fromkeys([*paths, *media.images, *media.videos]))
            done = update_gallery(
                self._gallery.predictor,
                store,
                paths,
                self._options,
                report.expect,
                lambda images, detections: report.advance(images),
            )
            for path, reason in done.problems:
                report.note_problem(reason if path in reason else f"{path}: {reason}")
            report.advance(0)
            refresh_calibration(store, check=report.check, warn=report.note_problem)
            report.check()
            if silence := compare_watched(store, self._watch):
                report.note_problem(silence)
            hits = report_hits(store, self._watch.hook, _print_hit, report.note_problem)
            apply_retention(store, audit=True)
        found = f"; {count_noun(hits, 'hit')} of the watch list" if hits else ""
        return (
            f"{count_noun(done.detections, 'detection')} in {count_noun(done.images, 'image')} "
            f"added; {count_noun(done.skipped, 'file')} as before, {len(done.problems):,} left out"
            f"{found}"
        )

    def _calibrate(self, report: JobReport) -> str:
        with self._open() as store:
            known = calibrate_gallery(store, check=report.check, warn=report.note_problem)
        pairs = count_noun(known.pairs, "pair")
        return f"{'not ' if known.tail is None else ''}calibrated by {pairs} of certain strangers"

    def _link(self, again: bool, report: JobReport) -> str:
        with self._open() as store:
            if again:
                store.reset_tracklets()
            sources = store.unlinked()
            report.expect(len(sources))
            problems = link_sources(store, sources, lambda source, tracklets: report.advance())
            for path, reason in problems:
                report.note_problem(f"{path}: {reason}")
            return count_sightings(store)

    @contextmanager
    def _open(self) -> Iterator[GalleryStore]:
        own = self._gallery.store
        with open_store(own.address, weights=own.weights) as store:
            yield store


def _print_hit(line: str) -> None:
    """Print a hit as a line of JSON, as `clsa-search index` does."""
    print(line, flush=True)
