"""Link the sources of a gallery, and follow people from a clip of a camera to the next."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery import Filter, GalleryStore, StoredDetection, Tracklet
from clsa_search.sightings.drawn_links import find_found_limits, link_detections
from clsa_search.sightings.linking import MAX_GAP, LinkInput, match_ends
from clsa_search.sightings.pooling import make_tracklets, to_link_input

_CALENDAR_FROM = 1e8  # lower times are times within videos: clips do not follow each other there
_TRIES = 3


def link_source(store: GalleryStore, source: str) -> int:
    """Link the detections of a source; return the number of its tracklets.

    The result depends on the stored detections alone: it may be repeated, also after a kill.

    Raises:
        InputError: another process changes the source, or the store cannot be read or written.
    """
    detections = _read(store, source)
    labels = link_detections(detections) if detections else np.empty(0, np.int64)
    tracklets, members = make_tracklets(detections, labels)
    by_id = {one.detection_id: one for one in detections}
    inside = {ids[0]: [by_id[one] for one in ids] for ids in members}
    tracklets = _continue_clips(store, detections, tracklets, inside.__getitem__)
    store.set_tracklets(source, tracklets, members)
    for follower in _find_followers(store, tracklets):
        _renew_chains(store, follower)
    return len(tracklets)


def link_sources(
    store: GalleryStore,
    sources: Iterable[str],
    on_linked: Callable[[str, int], None] = lambda source, tracklets: None,
) -> list[tuple[str, str]]:
    """Link several sources.

    Args:
        store: gallery.
        sources: paths of stored sources.
        on_linked: called with each linked source and its number of tracklets.

    Returns:
        (path, reason) of each source that was left, as one that another process changes.
    """
    problems = []
    for source in sources:
        for attempt in range(_TRIES):
            try:
                on_linked(source, link_source(store, source))
                break
            except InputError as error:
                if attempt == _TRIES - 1:
                    problems.append((source, str(error)))
    return problems


def _read(store: GalleryStore, source: str) -> list[StoredDetection]:
    """Return the detections of a source in the order of frames."""
    detections = store.list(Filter(sources=[source]))
    return sorted(detections, key=lambda one: -1 if one.frame is None else one.frame)


def _continue_clips(
    store: GalleryStore,
    detections: Sequence[StoredDetection],
    tracklets: list[Tracklet],
    list_members: Callable[[int], Sequence[StoredDetection]],
) -> list[Tracklet]:
    """Give tracklets the chains of those that they continue from the clip before."""
    heads = [one for one in tracklets if _is_dated(one)]
    if not heads:
        return tracklets
    start = min(one.first for one in heads if one.first is not None)
    camera, source = heads[0].camera, heads[0].source
    heads = [one for one in heads if one.first is not None and one.first <= start + MAX_GAP]
    where = Filter(cameras=[str(camera)], since=start - MAX_GAP, until=start)
    tails = [
        one
        for one in store.tracklets(where, embeddings=True)
        if one.source != source and one.last is not None and one.last <= start
    ]
    tails = [one for one in tails if one.first_frame is not None]
    if not tails:
        return tracklets
    # the order of ids is not that of frames: some may be drawn
    ends = [max(store.tracklet_detections(one.tracklet_id), key=_get_frame) for one in tails]
    begins = [min(list_members(one.tracklet_id), key=_get_frame) for one in heads]
    pairs = match_ends(_pool(ends, tails), _pool(begins, heads), find_found_limits(detections))
    chains = {heads[head].tracklet_id: tails[tail].chain for tail, head in pairs}
    return [replace(one, chain=chains.get(one.tracklet_id, one.chain)) for one in tracklets]


def _find_followers(store: GalleryStore, tracklets: Sequence[Tracklet]) -> list[str]:
    """Return the linked sources of the same camera that begin where these tracklets end."""
    dated = [one for one in tracklets if _is_dated(one)]
    if not dated:
        return []
    end = max(one.last for one in dated if one.last is not None)
    where = Filter(cameras=[str(dated[0].camera)], since=end, until=end + MAX_GAP)
    found = {one.source for one in store.tracklets(where)} - {dated[0].source}
    return sorted(found - set(store.unlinked())) if found else []


def _renew_chains(store: GalleryStore, source: str) -> None:
    """Continue the tracklets of a linked source from the clip before it, which is new."""
    before = store.tracklets(Filter(sources=[source]), embeddings=True)
    own = [replace(one, chain=one.tracklet_id) for one in before]
    after = _continue_clips(store, _read(store, source), own, store.tracklet_detections)
    if [one.chain for one in before] == [one.chain for one in after]:
        return
    members = [
        [detection.detection_id for detection in store.tracklet_detections(one.tracklet_id)]
        for one in after
    ]
    store.set_tracklets(source, after, members)
    for follower in _find_followers(store, after):
        _renew_chains(store, follower)


def _get_frame(detection: StoredDetection) -> int:
    return detection.frame or 0


def _is_dated(tracklet: Tracklet) -> bool:
    is_clip = tracklet.camera is not None and tracklet.first_frame is not None
    return is_clip and tracklet.first is not None and tracklet.first >= _CALENDAR_FROM


def _pool(detections: Sequence[StoredDetection], tracklets: Sequence[Tracklet]) -> LinkInput:
    """Return places of detections with the embeddings of their tracklets."""
    arrays = to_link_input(detections)
    embeddings = np.stack([np.asarray(one.embedding) for one in tracklets])
    return replace(arrays, embeddings=embeddings)
