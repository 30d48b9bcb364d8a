"""Stored detections of one frame, to choose a person from."""

import math

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, StoredDetection


def list_frame_detections(
    store: GalleryStore, path: str, after: float | None = None
) -> list[StoredDetection]:
    """List the detections of an image, or of a video's first frame with any.

    Args:
        store: the gallery.
        path: path of the image or video.
        after: the frame begins after this time; None: the beginning of the video.

    Returns:
        Detections of one image or frame, most confident first.

    Raises:
        InputError: the source has no detection, or none after this time.
    """
    where = Filter(sources=[path])
    first = store.list(where, order_by="time", limit=1)
    if not first:
        raise InputError(f"{path}: has no detection; expected another file, or a drawn box")
    if first[0].time is not None:
        if after is not None:
            since = math.nextafter(after, math.inf)
            first = store.list(Filter(sources=[path], since=since), order_by="time", limit=1)
        if not first:
            raise InputError(f"{path}: has no detection after then; expected an earlier time")
        where = Filter(sources=[path], since=first[0].time, until=first[0].time)
    detections = store.list(where, order_by="score")
    frame = min((one.frame or 0 for one in detections), default=0)
    return [one for one in detections if (one.frame or 0) == frame] or first
