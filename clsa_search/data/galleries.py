"""Galleries as data: the images in which each query is searched.

Shape letters: Q queries, K gallery images over all queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clsa_search.structures import Ragged

ALL = "all"
"""Protocol: every image except the query's own."""

CROSS_CAMERA = "cross_camera"
"""Protocol: the images of all cameras except the query's."""

FULL_PROTOCOLS = (ALL, CROSS_CAMERA)
"""Protocols that follow from the records and need no gallery in the dataset."""


@dataclass(frozen=True)
class FirstListings:
    """Images that a gallery lists with several boxes of the query's person: the first box of each.

    Args:
        query_ids: (R,) int64.
        images: (R,) int32 positions in the dataset's records.
        boxes: (R, 4) float64 XYXY in pixels, not clipped.
    """

    query_ids: np.ndarray
    images: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True)
class Gallery:
    """Gallery images of each query.

    An image may be listed twice for a query, and a query's own image may be listed: published
    galleries do both.

    Args:
        query_ids: (Q,) int64 positions in the dataset's list of queries.
        images: Q rows, (K,) int32 positions in the dataset's records.
        first_listings: images listed with several boxes, for code bases that use only the first;
            None for none.
    """

    query_ids: np.ndarray
    images: Ragged[np.ndarray]
    first_listings: FirstListings | None = None


def build_gallery(images_by_query: Mapping[int, Sequence[int] | np.ndarray]) -> Gallery:
    """Build a gallery with ascending query ids from the image positions of each query id."""
    query_ids = sorted(images_by_query)
    images = [np.asarray(images_by_query[query_id], dtype=np.int32) for query_id in query_ids]
    return Gallery(
        query_ids=np.array(query_ids, dtype=np.int64),
        images=Ragged.from_lengths(
            np.concatenate([np.empty(0, dtype=np.int32), *images]), [len(row) for row in images]
        ),
    )
