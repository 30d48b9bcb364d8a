"""Who is searched for, where, and what counts as found. A protocol is data; datasets differ in it.

Shape letters: N images, Q queries, G listings of gallery images and T target boxes of all queries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clsa_search.data.catalog import default_protocols, list_galleries, load_gallery
from clsa_search.data.galleries import ALL, CROSS_CAMERA, Gallery
from clsa_search.errors import InputError
from clsa_search.evaluation.predictions import expand_ranges
from clsa_search.structures import Ragged


@dataclass(frozen=True)
class SearchProtocol:
    """Queries, the gallery of each, and the boxes of the person searched for in that gallery.

    Query q searches gallery_images[gallery_offsets[q]:gallery_offsets[q+1]], positions in
    `image_ids`; an image that is listed twice is there twice. Its targets are those of
    target_offsets in the same way, ordered by image; an image may hold several of one query.
    `lost` is how many images count as holding the person though nothing is searched in them.
    """

    name: str
    image_ids: np.ndarray  # (N,) str
    query_ids: np.ndarray  # (Q,) int64
    gallery_offsets: np.ndarray  # (Q+1,) int64
    gallery_images: np.ndarray  # (G,) int32
    target_offsets: np.ndarray  # (Q+1,) int64
    target_images: np.ndarray  # (T,) int32
    target_boxes: np.ndarray  # (T, 4) float64 XYXY pixels of the original image
    lost: np.ndarray | None = None  # (Q,) int64; None: nowhere any
    compat: str | None = None  # the compatibility mode that its targets are for

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
            lost=None if self.lost is None else self.lost[rows],
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


def load_protocols(
    dataset_name: str,
    records: Sequence[dict],
    names: Sequence[str] | None = None,
    *,
    build: Callable[[Sequence[dict], Gallery, str], SearchProtocol] | None = None,
) -> list[SearchProtocol]:
    """Protocols of a dataset by name, in the order given.

    Args:
        dataset_name: whose galleries they are.
        records: the dataset's (`clsa_search.data.get_records`).
        names: of `clsa_search.data.list_protocols`; by default those of `default_protocols`.
        build: makes them, by default `build_protocol`.

    Raises:
        InputError: the dataset has no such protocol, or lacks a camera that it needs.
    """
    names = default_protocols(dataset_name) if names is None else names
    galleries = list_galleries(dataset_name)
    protocols = []
    for name in dict.fromkeys(names):
        if name not in (*galleries, ALL, CROSS_CAMERA):
            cameras = all("cam_id" in record for record in records)
            known = (*galleries, ALL, *([CROSS_CAMERA] if cameras else []))
            raise InputError(
                f"{dataset_name}: no protocol {name!r}; expected one of {', '.join(known)}"
            )
        follow = {ALL: full_gallery, CROSS_CAMERA: cross_camera_gallery}.get(name)
        gallery = follow(records) if follow else load_gallery(dataset_name, name)
        protocols.append((build or build_protocol)(records, gallery, name))
    return protocols


def full_gallery_protocol(records: Sequence[dict]) -> SearchProtocol:
    """Every query of the records in every image but its own; named "all".

    Args:
        records: Detectron2's, with `annotations` and, on some, `queries` (see `clsa_search.data`).
    """
    return build_protocol(records, full_gallery(records), ALL)


def full_gallery(records: Sequence[dict]) -> Gallery:
    """For each query, every image but its own."""
    query_ids, own, _ = _flatten_queries(records)
    size = max(len(records) - 1, 0)
    others = np.arange(size, dtype=np.int32)
    images = others + (others >= own[:, None])
    return Gallery(
        query_ids=query_ids,
        images=Ragged(images.reshape(-1), np.arange(len(query_ids) + 1) * size),
    )


def cross_camera_gallery(records: Sequence[dict]) -> Gallery:
    """For each query, the images of other cameras than its own.

    Raises:
        InputError: the camera of an image is not known.
    """
    for record in records:
        if "cam_id" not in record:
            raise InputError(
                f"image {record['image_id']!r}: 'cam_id' is missing; "
                f"expected one on every image for protocol {CROSS_CAMERA!r}"
            )
    query_ids, own, _ = _flatten_queries(records)
    cameras = np.array([record["cam_id"] for record in records], dtype=np.int64)
    query, images = np.nonzero(cameras != cameras[own][:, None])
    return Gallery(
        query_ids=query_ids,
        images=Ragged(
            images.astype(np.int32), np.searchsorted(query, np.arange(len(query_ids) + 1))
        ),
    )


def build_protocol(records: Sequence[dict], gallery: Gallery, name: str) -> SearchProtocol:
    """Queries in given galleries; targets are the boxes there with the query's person_id.

    Where a gallery lists the query's own image, the box that is asked with is a target only if the
    person has no other there: what CUHK-SYSU's two such galleries say of themselves.

    Args:
        records: as for `full_gallery_protocol`.
        gallery: of these records.
        name: of the protocol.

    Raises:
        InputError: the gallery names a query that no record carries.
    """
    query_ids, own, person_ids = _flatten_queries(records)
    if unknown := set(gallery.query_ids.tolist()) - set(query_ids.tolist()):
        raise InputError(
            f"protocol {name!r}: query {min(unknown)} is on no image of the dataset; "
            f"expected some of its {len(query_ids)} queries"
        )
    rows = np.searchsorted(query_ids, gallery.query_ids)
    people = flatten_people(records)
    target_query, targets = _find_targets(people, person_ids[rows])
    listed = np.zeros((len(gallery.query_ids), len(records)), dtype=bool)
    for query in range(len(listed)):  # indices of all take 16 times more
        listed[query, gallery.images.row(query)] = True
    there = listed[target_query, people.images[targets]]
    target_query, targets = target_query[there], targets[there]
    at_home = np.flatnonzero(people.images[targets] == own[rows][target_query])
    asked = _find_asked(records, people, gallery.query_ids[target_query], targets, at_home)
    target_query, targets = np.delete(target_query, asked), np.delete(targets, asked)
    return SearchProtocol(
        name=name,
        image_ids=np.array([record["image_id"] for record in records], dtype=np.str_),
        query_ids=gallery.query_ids,
        gallery_offsets=gallery.images.offsets,
        gallery_images=gallery.images.values,
        target_offsets=np.searchsorted(target_query, np.arange(len(listed) + 1)),
        target_images=people.images[targets].astype(np.int32),
        target_boxes=people.boxes[targets],
    )


def _flatten_queries(records: Sequence[dict]) -> np.ndarray:
    """(query id, image, person id) of the queries (Q,), by id; int64."""
    queries = sorted(
        (query["query_id"], image, query["person_id"])
        for image, record in enumerate(records)
        for query in record.get("queries", [])
    )
    return np.array(queries, dtype=np.int64).reshape(-1, 3).T


def _find_targets(people: People, person_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(query, person) pairs: the boxes of each query's identity (Q,), in the people's order."""
    order = np.argsort(people.person_ids, kind="stable")
    ranked = people.person_ids[order]
    start = np.searchsorted(ranked, person_ids, side="left")
    stop = np.searchsorted(ranked, person_ids, side="right")
    query, place = expand_ranges(start, stop - start)
    return query, order[place]


def _find_asked(
    records: Sequence[dict],
    people: People,
    queries: np.ndarray,
    targets: np.ndarray,
    at_home: np.ndarray,
) -> list[int]:
    """Positions of targets that are their query's own box, beside another of the person.

    Args:
        records: for the queries' boxes.
        people: whom `targets` (T,) are.
        queries: (T,) query ids.
        at_home: positions of the targets in their query's own image; rare.
    """
    boxes = {
        query["query_id"]: query["bbox"]
        for record in (records if len(at_home) else ())
        for query in record.get("queries", [])
    }
    asked = []
    for query in np.unique(queries[at_home]).tolist():
        same = at_home[queries[at_home] == query]
        distances = np.abs(people.boxes[targets[same]] - boxes[query]).max(axis=1)
        if len(same) > 1 and distances.min() < 1:  # pixels: a box may have been cut or truncated
            asked.append(same[distances.argmin()])
    return asked


def _select_ranges(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of some ranges put side by side, and the entries that they hold."""
    counts = np.diff(offsets)[rows]
    return np.cumsum(np.append(0, counts)), expand_ranges(offsets[rows], counts)[1]
