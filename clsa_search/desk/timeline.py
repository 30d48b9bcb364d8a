"""The timeline of a gallery: coverage and gaps of each camera's footage."""

import threading
from collections.abc import Iterable

from clsa_search.desk.footage import Footage, is_video
from clsa_search.desk.gallery_models import LaneAnswer, TimelineAnswer
from clsa_search.errors import InputError
from clsa_search.gallery import GalleryStore, Source
from clsa_search.retrieval.search_answers import as_text
from clsa_search.retrieval.source_base import find_base
from clsa_search.sightings.coverage import Footage as FileSpan
from clsa_search.sightings.coverage import find_coverage


class Timeline:
    """Knows the times of each file; the headers of videos are read once, in a thread.

    Args:
        store: gallery.
        footage: its files.
    """

    def __init__(self, store: GalleryStore, footage: Footage) -> None:
        self._store = store
        self._footage = footage
        self._ends: dict[tuple, float | None] = {}
        self._lock = threading.Lock()

    def describe(self) -> TimelineAnswer:
        """Return the coverage of each camera, by the headers read so far."""
        sources = self._store.sources()
        missing = [one for one in sources if is_video(one.path) and _key(one) not in self._ends]
        if missing and self._lock.acquire(blocking=False):
            threading.Thread(target=self._read_headers, args=(missing,), daemon=True).start()
        known = [one for one in sources if not is_video(one.path) or _key(one) in self._ends]
        return TimelineAnswer(
            complete=not missing,
            lanes=[
                LaneAnswer(
                    camera=None if lane.camera is None else as_text(lane.camera),
                    spans=list(lane.spans),
                    gaps=list(lane.gaps),
                    undated=lane.undated,
                )
                for lane in find_coverage(self._find_span(one) for one in known)
            ],
        )

    def _find_span(self, source: Source) -> FileSpan:
        if not is_video(source.path):
            return FileSpan(source.camera, source.start, source.start)
        start = find_base(source)
        seconds = self._ends[_key(source)]
        return FileSpan(source.camera, start, None if seconds is None else start + seconds)

    def _read_headers(self, sources: Iterable[Source]) -> None:
        try:
            for source in sources:
                self._ends[_key(source)] = self._read_end(source)
        finally:
            self._lock.release()

    def _read_end(self, source: Source) -> float | None:
        """Return the indexed seconds of a video; None if its header does not tell."""
        try:
            facts = self._footage.read_facts(source.path)
        except InputError:
            return None
        return facts.seconds if source.next_frame is None else source.next_frame / facts.fps


def _key(source: Source) -> tuple:
    return source.path, source.fingerprint, source.next_frame
