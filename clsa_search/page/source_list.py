"""The indexed sources of a gallery and the detections of their images."""

from typing import NamedTuple

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, StoredDetection
from clsa_search.retrieval.time_format import CALENDAR_FROM, parse_time
from clsa_search.retrieval.video import locate_frame

PER_PAGE = 8
_INSTANT = 1e-3  # seconds


class SourcePage(NamedTuple):
    """A page of the list of sources.

    Args:
        paths: paths of the sources.
        page: number of the page, from 0.
        pages: number of all pages, at least 1.
    """

    paths: list[str]
    page: int
    pages: int


def browse(store: GalleryStore, text: str = "", page: int = 0) -> SourcePage:
    """Return a page of the sources from `match_sources`, the nearest existing one."""
    found = match_sources(store, text)
    pages = max(1, -(-len(found) // PER_PAGE))
    page = min(max(page, 0), pages - 1)
    return SourcePage(found[page * PER_PAGE : (page + 1) * PER_PAGE], page, pages)


def match_sources(store: GalleryStore, text: str) -> list[str]:
    """Return the paths with detections and a text in them, in upper or lower case."""
    wanted = text.strip().casefold()
    return [
        source.path
        for source in store.sources()
        if source.detections and wanted in source.path.casefold()
    ]


def list_frame_detections(
    store: GalleryStore, path: str, since: float | None = None
) -> list[StoredDetection]:
    """List the detections of an image, or of a video's first frame with any.

    Args:
        store: the gallery.
        path: path of the image or video.
        since: earliest time of the frame; None: the beginning of the video.

    Returns:
        Detections of one image or frame, most confident first.

    Raises:
        InputError: the source has no detection, or none from this time on.
    """
    where = Filter(sources=[path])
    first = store.list(where, order_by="time", limit=1)
    if not first:
        raise InputError(f"{path}: is not in the gallery; expected an indexed image or video")
    if first[0].time is not None:
        if since is not None:
            first = store.list(Filter(sources=[path], since=since), order_by="time", limit=1)
        if not first:
            raise InputError(f"{path}: has no detection from then on; expected an earlier time")
        where = Filter(sources=[path], since=first[0].time, until=first[0].time)
    detections = store.list(where, order_by="score")
    frame = min((one.frame or 0 for one in detections), default=0)
    return [one for one in detections if (one.frame or 0) == frame] or first


def find_time(store: GalleryStore, path: str, text: str) -> float:
    """Convert a date, or a time since the beginning of a video, to a time of the gallery.

    Raises:
        InputError: the text is neither, or the video has no detection.
    """
    seconds = parse_time(text)
    if seconds >= CALENDAR_FROM:
        return seconds
    first = list_frame_detections(store, path)[0]
    passed = locate_frame(first.source, first.frame or 0) or 0.0
    return (first.time or 0.0) - passed + seconds - _INSTANT  # rounding must not skip a frame
