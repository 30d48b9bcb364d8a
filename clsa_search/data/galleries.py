"""Fixed galleries, as data: which images each query is searched in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ALL = "all"  # every image but the query's own
CROSS_CAMERA = "cross_camera"  # the images of other cameras than the query's
FULL_PROTOCOLS = (ALL, CROSS_CAMERA)  # those that need no gallery of their own


@dataclass(frozen=True)
class Gallery:
    """Query query_ids[q] is searched in images[offsets[q]:offsets[q+1]].

    Shape letters: Q queries, K listings of images. An image that is listed twice for a query is
    there twice, and a query's own image may be listed: both happen in published galleries.
    """

    query_ids: np.ndarray  # (Q,) int64, positions in the dataset's list of queries
    offsets: np.ndarray  # (Q+1,) int64
    images: np.ndarray  # (K,) int32, positions in the dataset's records


def build_gallery(listings: Mapping[int, Sequence[int]]) -> Gallery:
    """The gallery of {query id: positions of its images}, its queries in ascending order."""
    query_ids = sorted(listings)
    sizes = [len(listings[query_id]) for query_id in query_ids]
    images = [np.asarray(listings[query_id], dtype=np.int32) for query_id in query_ids]
    return Gallery(
        query_ids=np.array(query_ids, dtype=np.int64),
        offsets=np.cumsum([0, *sizes], dtype=np.int64),
        images=np.concatenate([np.empty(0, dtype=np.int32), *images]),
    )
