"""Copying the tracklets of a gallery to another one with the same detections."""

from collections.abc import Sequence
from dataclasses import replace

from clsa_search.gallery.store import GalleryStore
from clsa_search.gallery.store_records import Filter, Source


def copy_tracklets(gallery: GalleryStore, copy: GalleryStore, sources: Sequence[Source]) -> None:
    """Copy the tracklets of linked sources; those that are copied already are left.

    Args:
        gallery: the original.
        copy: gallery with the same detections of each source in the same order.
        sources: sources of the original.
    """
    known = {source.path: source for source in copy.sources()}
    missing = [
        source
        for source in sources
        if source.is_linked
        and source.detections
        and not (known[source.path].is_linked and known[source.path].tracklets == source.tracklets)
    ]
    ids: dict[int, int] = {}  # of detections, and so of tracklets and chains
    for source in sources if missing else ():
        originals, copied = (_list_ids(store, source.path) for store in (gallery, copy))
        ids.update(zip(originals, copied, strict=True))
    for source in missing:
        _copy_source(gallery, copy, source.path, ids)


def _copy_source(gallery: GalleryStore, copy: GalleryStore, path: str, ids: dict[int, int]) -> None:
    originals = _list_ids(gallery, path)
    members: dict[int, list[int]] = {}
    for detection, tracklet in zip(originals, gallery.find_tracklets(originals), strict=True):
        members.setdefault(tracklet, []).append(ids[detection])
    tracklets = [
        replace(
            one,
            tracklet_id=ids[one.tracklet_id],
            best=ids[one.best],
            chain=ids.setdefault(one.chain, ids[one.tracklet_id]),  # its first one may be deleted
        )
        for one in gallery.get_tracklets(list(members))
    ]
    copy.set_tracklets(path, tracklets, list(members.values()))


def _list_ids(store: GalleryStore, path: str) -> list[int]:
    return [one.detection_id for one in store.list(Filter(sources=[path]))]
