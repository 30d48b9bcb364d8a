"""Copying a gallery to another file or another engine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery.detection_origins import Origin
from clsa_search.gallery.engines import open_store
from clsa_search.gallery.store import GalleryStore
from clsa_search.gallery.store_records import (
    GalleryImage,
    IndexProgress,
    Source,
    StoredDetection,
)
from clsa_search.gallery.tracklet_transfer import copy_tracklets
from clsa_search.structures import ImageDetections


class CopyReport(NamedTuple):
    """Numbers of a copy.

    Args:
        detections: number of detections copied now.
        present: number of detections copied earlier.
        sources: number of all sources.
    """

    detections: int
    present: int
    sources: int


def copy_gallery(
    gallery: GalleryStore,
    address: str,
    *,
    batch_size: int = 5000,
    on_copied: Callable[[int], None] = lambda count: None,
) -> CopyReport:
    """Copy a gallery: detections in their order, tracklets, places, progress, weights.

    The same call continues an interrupted copy and adds new detections to a complete one; it
    compares the present ones. Ids are new. Sources are in the order of their first detection;
    those without detections come last. The progress of new sources is copied last: an incomplete
    copy therefore knows them as not indexed.

    Args:
        gallery: the original; no other process may change it during the copy.
        address: address of the copy, see `open_store`; no other process may add to it.
        batch_size: number of detections to copy at a time.
        on_copied: called with the number of detections of each stored batch.

    Raises:
        InputError: the copy holds other detections, the original changed during the copy, or one
            of them cannot be read or written.
    """
    copied = 0
    with open_store(address, weights=gallery.weights, create=True, about=gallery.about) as copy:
        copy.remove_partial()
        sources = gallery.sources()
        progress = _list_progress(copy.address, sources, {one.path: one for one in copy.sources()})
        present, last = _compare(gallery, copy, batch_size)
        for count in _copy_detections(gallery, copy, last, batch_size):
            copied += count
            on_copied(count)
        if gallery.sources() != sources:
            raise InputError(
                f"{gallery.address}: changed during the copy; expected no indexing at the same "
                "time: copy again"
            )
        copy.add([], progress)
        copy_tracklets(gallery, copy, sources)
    return CopyReport(copied, present, len(sources))


def _copy_detections(
    gallery: GalleryStore, copy: GalleryStore, after: int, batch_size: int
) -> Iterator[int]:
    """Copy the detections after an id; yield the size of each stored batch."""
    while detections := gallery.scan(after, batch_size):
        copy.add(_make_images(detections))
        after = detections[-1].detection_id
        yield len(detections)


def _list_progress(
    address: str, sources: Sequence[Source], copied: Mapping[str, Source]
) -> list[IndexProgress]:
    """Return the missing progress of the copy."""
    progress = []
    for source in sources:
        known = copied.get(source.path)
        if source.fingerprint is None or _state(known) == _state(source):
            continue
        after = None
        if known is not None and known.fingerprint is not None:
            if known.fingerprint != source.fingerprint or known.is_complete:
                raise InputError(
                    f"{address}: {source.path}: is indexed in another state; expected a new "
                    "gallery, or an earlier copy"
                )
            after = known.next_frame
        place = source.camera, source.start, source.start_from
        state = source.path, source.fingerprint, source.next_frame
        progress.append(IndexProgress(*state, after, None, *place))
    return progress


def _state(source: Source | None) -> tuple[str | None, int | None]:
    return (None, None) if source is None else (source.fingerprint, source.next_frame)


def _compare(gallery: GalleryStore, copy: GalleryStore, batch_size: int) -> tuple[int, int]:
    """Compare a copy with the first detections of its original.

    Returns:
        Number of the copied detections, and the id of the last one in the original.

    Raises:
        InputError: they differ.
    """
    present = last = last_copied = 0
    while copied := copy.scan(last_copied, batch_size):
        originals = gallery.scan(last, len(copied))
        if len(originals) < len(copied) or not all(map(_are_equal, originals, copied)):
            raise InputError(
                f"{copy.address}: holds other detections than {gallery.address}; expected a new "
                "gallery, or an earlier copy"
            )
        present += len(copied)
        last, last_copied = originals[-1].detection_id, copied[-1].detection_id
    return present, last


def _are_equal(one: StoredDetection, other: StoredDetection) -> bool:
    return (
        _image_of(one) == _image_of(other)
        and (one.box, one.score) == (other.box, other.score)
        and np.array_equal(one.embedding, other.embedding)
    )


def _image_of(
    detection: StoredDetection,
) -> tuple[str, int | None, float | None, str | None, Origin]:
    """Return the fields of the image of a detection."""
    one = detection
    return one.source, one.frame, one.time, one.camera, one.origin


def _make_images(detections: Sequence[StoredDetection]) -> list[GalleryImage]:
    images = []
    for (source, frame, time, camera, origin), group in groupby(detections, _image_of):
        same = list(group)
        joined = ImageDetections(
            boxes=np.array([one.box for one in same], np.float32),
            scores=np.array([one.score for one in same], np.float32),
            embeddings=np.stack([one.embedding for one in same]),
        )
        images.append(GalleryImage(source, joined, frame, time, camera, origin))
    return images
