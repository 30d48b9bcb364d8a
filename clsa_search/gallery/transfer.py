"""Copying a gallery into another file or another engine."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery.engines import open_store
from clsa_search.gallery.store import GalleryStore
from clsa_search.gallery.store_records import (
    GalleryImage,
    IndexProgress,
    Source,
    StoredDetection,
)
from clsa_search.structures import ImageDetections


class Copied(NamedTuple):
    """What a copy holds."""

    people: int  # that were copied now
    present: int  # people that were there before
    sources: int


def copy_gallery(
    gallery: GalleryStore,
    address: str,
    *,
    batch_size: int = 5000,
    on_copied: Callable[[int], None] = lambda people: None,
) -> Copied:
    """Copy the people in their order, the progress of sources, the weights and what is said.

    A copy that was interrupted is taken up by doing it again, and people who came since are added;
    what is there already is compared. Row ids are new. Sources come in the order of their first
    person, then those without people. Until all people are copied the copy knows no progress of
    new sources, so that indexing into it would begin them again.

    Args:
        gallery: to copy, which nobody may change meanwhile.
        address: of the copy, see `open_store`; nobody else may add there.
        batch_size: people that are copied at a time.
        on_copied: is told the number of each batch, once it is stored.

    Raises:
        InputError: the copy holds something else, the gallery changed meanwhile, or one of them
            cannot be read or written.
    """
    options = {"weights": gallery.weights, "create": True, "about": gallery.about}
    with open_store(address, **options) as copy:
        copy.remove_leftovers()
        sources = gallery.sources()
        progress = _list_progress(copy.address, sources, {one.path: one for one in copy.sources()})
        present, last = _compare(gallery, copy, batch_size)
        people = 0
        while entries := gallery.scan(last, batch_size):
            copy.add(_make_images(entries))
            last = entries[-1].detection_id
            people += len(entries)
            on_copied(len(entries))
        if gallery.sources() != sources:
            raise InputError(
                f"{gallery.address}: was changed while it was copied; expected nobody to index "
                "meanwhile: copy again"
            )
        copy.add([], progress)
    return Copied(people, present, len(sources))


def _list_progress(
    address: str, sources: Sequence[Source], copied: Mapping[str, Source]
) -> list[IndexProgress]:
    """What the copy does not know yet."""
    progress = []
    for source in sources:
        known = copied.get(source.path)
        if source.fingerprint is None or _state(known) == _state(source):
            continue
        begun = known is not None and known.fingerprint is not None
        if begun and (known.fingerprint != source.fingerprint or known.is_complete):
            raise InputError(
                f"{address}: {source.path}: is indexed in another state; expected a new gallery, "
                "or an earlier copy"
            )
        after = known.next_frame if begun else None
        progress.append(IndexProgress(source.path, source.fingerprint, source.next_frame, after))
    return progress


def _state(source: Source | None) -> tuple[str | None, int | None]:
    return (None, None) if source is None else (source.fingerprint, source.next_frame)


def _compare(gallery: GalleryStore, copy: GalleryStore, batch_size: int) -> tuple[int, int]:
    """How many people are copied, and the gallery's row id of the last of them.

    Raises:
        InputError: they are not the gallery's first people.
    """
    present = last = last_copied = 0
    while copied := copy.scan(last_copied, batch_size):
        entries = gallery.scan(last, len(copied))
        if len(entries) < len(copied) or not all(map(_are_equal, entries, copied)):
            raise InputError(
                f"{copy.address}: holds other people than {gallery.address}; expected a new "
                "gallery, or an earlier copy"
            )
        present += len(copied)
        last, last_copied = entries[-1].detection_id, copied[-1].detection_id
    return present, last


def _are_equal(one: StoredDetection, other: StoredDetection) -> bool:
    return (
        _label(one) == _label(other)
        and (one.box, one.score) == (other.box, other.score)
        and np.array_equal(one.embedding, other.embedding)
    )


def _label(entry: StoredDetection) -> tuple:
    """What people of one scene share."""
    return entry.source, entry.frame, entry.time, entry.camera


def _make_images(entries: Sequence[StoredDetection]) -> list[GalleryImage]:
    images = []
    for (source, *labels), group in groupby(entries, _label):
        same = list(group)
        detections = ImageDetections(
            boxes=np.array([one.box for one in same], np.float32),
            scores=np.array([one.score for one in same], np.float32),
            embeddings=np.stack([one.embedding for one in same]),
        )
        images.append(GalleryImage(source, detections, *labels))
    return images
