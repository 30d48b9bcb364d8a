"""Search of a gallery for sightings."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clsa_search.gallery import Filter, GalleryStore, Match, Tracklet
from clsa_search.gallery.missing_rows import repeat_read


def search_tracklets(
    store: GalleryStore, embedding: np.ndarray, k: int, where: Filter | None = None
) -> list[Match]:
    """Find the tracklets most similar to a person.

    Args:
        store: gallery.
        embedding: (D,) of unit length.
        k: maximum number of matches.
        where: filter of the tracklets.

    Returns:
        Their best detections, most similar first. A person followed across clips is one match,
        whose times and frames are those of all clips.
    """

    def read() -> list[Match]:
        with store.snapshot():
            hits = store.search_tracklets(embedding[None], k, where)
            tracklets = store.get_tracklets(hits.ids[0], embeddings=False)
            return read_matches(store, tracklets, hits.similarities[0].tolist())

    return repeat_read(read)


def read_matches(
    store: GalleryStore, tracklets: Sequence[Tracklet], similarities: Sequence[float]
) -> list[Match]:
    """Read the best detections of tracklets and the times of their chains.

    Args:
        store: gallery.
        tracklets: the best one of each chain.
        similarities: similarity of each.
    """
    tracklets = _join_chains(store, tracklets)
    detections = store.get([one.best for one in tracklets])
    return [Match(*row) for row in zip(detections, similarities, tracklets, strict=True)]


def _join_chains(store: GalleryStore, tracklets: Sequence[Tracklet]) -> list[Tracklet]:
    """Return tracklets with times and number of detections of their whole chains."""
    chains: dict[int, list[Tracklet]] = {}
    for one in store.chain_tracklets([one.chain for one in tracklets]):
        chains.setdefault(one.chain, []).append(one)
    # another process may link them anew between two reads
    return [_join(one, chains.get(one.chain, [one])) for one in tracklets]


def _join(tracklet: Tracklet, parts: Sequence[Tracklet]) -> Tracklet:
    if len(parts) == 1:
        return tracklet
    return replace(
        tracklet,
        first=min(one.first for one in parts if one.first is not None),
        last=max(one.last for one in parts if one.last is not None),
        detections=sum(one.detections for one in parts),
        purity=min(one.purity for one in parts),
    )
