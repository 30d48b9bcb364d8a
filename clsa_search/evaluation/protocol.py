"""Who is searched for, where, and what counts as found. A protocol is data; datasets differ in it.

Shape letters: N images, Q queries, G listings of gallery images and T target boxes of all queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clsa_search.errors import InputError
from clsa_search.evaluation.predictions import expand_ranges


@dataclass(frozen=True)
class SearchProtocol:
    """Queries, the gallery of each, and the boxes of the person searched for in that gallery.

    Query q searches gallery_images[gallery_offsets[q]:gallery_offsets[q+1]], positions in
    `image_ids`; an image that is listed twice is there twice. Its targets are those of
    target_offsets in the same way, ordered by image; an image may hold several of one query.
    """

    name: str
    image_ids: np.ndarray  # (N,) str
    query_ids: np.ndarray  # (Q,) int64
    gallery_offsets: np.ndarray  # (Q+1,) int64
    gallery_images: np.ndarray  # (G,) int32
    target_offsets: np.ndarray  # (Q+1,) int64
    target_images: np.ndarray  # (T,) int32
    target_boxes: np.ndarray  # (T, 4) float64 XYXY pixels of the original image

    def select(self, query_ids: Sequence[int]) -> "SearchProtocol":
        """The same protocol for some of its queries, in the order given.

        Raises:
            InputError: the protocol has no such query.
        """
        known = {query_id: row for row, query_id in enumerate(self.query_ids.tolist())}
        if unknown := [query_id for query_id in query_ids if query_id not in known]:
            raise InputError(f"query {unknown[0]} is not in protocol {self.name!r}")
        rows = np.array([known[query_id] for query_id in query_ids], dtype=np.int64)
        gallery_offsets, listings = _select_ranges(self.gallery_offsets, rows)
        target_offsets, targets = _select_ranges(self.target_offsets, rows)
        return replace(
            self,
            query_ids=self.query_ids[rows],
            gallery_offsets=gallery_offsets,
            gallery_images=self.gallery_images[listings],
            target_offsets=target_offsets,
            target_images=self.target_images[targets],
            target_boxes=self.target_boxes[targets],
        )


@dataclass(frozen=True)
class People:
    """The annotated people of records, flat: A of them, in the records' order."""

    images: np.ndarray  # (A,) int64, positions in the records
    boxes: np.ndarray  # (A, 4) float64 XYXY pixels
    person_ids: np.ndarray  # (A,) int64


def flatten_people(records: Sequence[dict]) -> People:
    """The annotations of records as arrays."""
    rows = [
        (image, annotation["bbox"], annotation["person_id"])
        for image, record in enumerate(records)
        for annotation in record["annotations"]
    ]
    images, boxes, person_ids = zip(*rows, strict=True) if rows else ((), (), ())
    return People(
        images=np.array(images, dtype=np.int64),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        person_ids=np.array(person_ids, dtype=np.int64),
    )


def full_gallery_protocol(records: Sequence[dict]) -> SearchProtocol:
    """Every query of the records in every image but its own; named "all".

    Args:
        records: Detectron2's, with `annotations` and, on some, `queries` (see `clsa_search.data`).
    """
    queries = sorted(
        (query["query_id"], image, query["person_id"])
        for image, record in enumerate(records)
        for query in record.get("queries", [])
    )
    query_ids, own, person_ids = np.array(queries, dtype=np.int64).reshape(-1, 3).T
    gallery_size = max(len(records) - 1, 0)
    others = np.arange(gallery_size, dtype=np.int32)
    galleries = others + (others >= own[:, None])
    people = flatten_people(records)
    target_query, targets = _find_targets(people, own, person_ids)
    return SearchProtocol(
        name="all",
        image_ids=np.array([record["image_id"] for record in records], dtype=np.str_),
        query_ids=query_ids,
        gallery_offsets=np.arange(len(query_ids) + 1) * gallery_size,
        gallery_images=galleries.astype(np.int32).reshape(-1),
        target_offsets=np.searchsorted(target_query, np.arange(len(query_ids) + 1)),
        target_images=people.images[targets].astype(np.int32),
        target_boxes=people.boxes[targets],
    )


def _find_targets(
    people: People, own: np.ndarray, person_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(query, person) pairs: the boxes of each query's identity (Q,) outside its own image (Q,)."""
    order = np.argsort(people.person_ids, kind="stable")
    ranked = people.person_ids[order]
    start = np.searchsorted(ranked, person_ids, side="left")
    stop = np.searchsorted(ranked, person_ids, side="right")
    query, place = expand_ranges(start, stop - start)
    person = order[place]
    elsewhere = people.images[person] != own[query]
    return query[elsewhere], person[elsewhere]


def _select_ranges(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of some ranges put side by side, and the entries that they hold."""
    counts = np.diff(offsets)[rows]
    return np.cumsum(np.append(0, counts)), expand_ranges(offsets[rows], counts)[1]
