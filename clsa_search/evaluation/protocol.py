"""Search protocols: queries, the gallery of each query, and its target boxes there.

A protocol is data; datasets differ in nothing else.

Shape letters: N images, Q queries, K gallery images and T target boxes over all queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clsa_search.data.galleries import ALL, CROSS_CAMERA, Gallery
from clsa_search.data.labeled_boxes import LabeledBoxes
from clsa_search.errors import InputError
from clsa_search.evaluation.record_queries import flatten_queries, image_key, query_boxes
from clsa_search.structures import Ragged

_SAME_BOX = 1
"""Pixels between a query box and its annotation: a box may have been clipped or truncated."""


@dataclass(frozen=True)
class TargetBoxes:
    """Ground-truth boxes of the persons to search for.

    Args:
        images: (T,) int32 positions in the protocol's `image_ids`.
        boxes: (T, 4) float64 XYXY in pixels of the original image.
    """

    images: np.ndarray
    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | np.ndarray) -> "TargetBoxes":
        return TargetBoxes(self.images[index], self.boxes[index])


@dataclass(frozen=True)
class SearchProtocol:
    """Queries with their galleries and target boxes.

    Args:
        name: name of the protocol.
        image_ids: (N,) str.
        query_ids: (Q,) int64.
        galleries: Q rows, (K,) int32 positions in `image_ids`; an image listed twice
            counts twice.
        targets: Q rows, (T,) boxes of the query's person in its gallery, sorted by image; an image
            may hold several boxes of one query.
        unsearched: (Q,) int64, further target images, counted but not searched;
            None for none.
        compat: compatibility mode of the targets, None for the semantics of `metrics`.
    """

    name: str
    image_ids: np.ndarray
    query_ids: np.ndarray
    galleries: Ragged[np.ndarray]
    targets: Ragged[TargetBoxes]
    unsearched: np.ndarray | None = None
    compat: str | None = None

    def select(self, query_ids: Sequence[int]) -> "SearchProtocol":
        """Return the protocol of some of its queries, in the given order.

        Raises:
            InputError: the protocol does not have a query.
        """
        known = {query_id: row for row, query_id in enumerate(self.query_ids.tolist())}
        if unknown := [query_id for query_id in query_ids if query_id not in known]:
            raise InputError(f"query {unknown[0]} is not in protocol {self.name!r}")
        rows = np.array([known[query_id] for query_id in query_ids], dtype=np.int64)
        return replace(
            self,
            query_ids=self.query_ids[rows],
            galleries=self.galleries.select(rows),
            targets=self.targets.select(rows),
            unsearched=None if self.unsearched is None else self.unsearched[rows],
        )


def full_gallery_protocol(records: Sequence[dict]) -> SearchProtocol:
    """Return the protocol "all": every query is searched in every image except its own.

    Args:
        records: records of a dataset (`clsa_search.data`).
    """
    return build_protocol(records, full_gallery(records), ALL)


def full_gallery(records: Sequence[dict]) -> Gallery:
    """Return every image except its own for each query."""
    query_ids, own, _ = flatten_queries(records)
    size = max(len(records) - 1, 0)
    others = np.arange(size, dtype=np.int32)
    images = others + (others >= own[:, None])
    return Gallery(
        query_ids=query_ids,
        images=Ragged(images.reshape(-1), np.arange(len(query_ids) + 1) * size),
    )


def cross_camera_gallery(records: Sequence[dict]) -> Gallery:
    """Return the images of all cameras except its own for each query.

    Raises:
        InputError: an image has no `cam_id`.
    """
    for record in records:
        if "cam_id" not in record:
            raise InputError(
                f"image {image_key(record)!r}: 'cam_id' is missing; "
                f"expected one on every image for protocol {CROSS_CAMERA!r}"
            )
    query_ids, own, _ = flatten_queries(records)
    cameras = np.array([record["cam_id"] for record in records], dtype=np.int64)
    query, images = np.nonzero(cameras != cameras[own][:, None])
    return Gallery(
        query_ids=query_ids,
        images=Ragged.from_lengths(
            images.astype(np.int32), np.bincount(query, minlength=len(query_ids))
        ),
    )


def build_protocol(records: Sequence[dict], gallery: Gallery, name: str) -> SearchProtocol:
    """Build the protocol of a gallery; targets are the gallery's boxes with the query's person_id.

    If a gallery lists the query's own image, the query box itself is a target only if the person
    has no other box there, as in the two galleries of CUHK-SYSU with such an image.

    Args:
        records: records of a dataset.
        gallery: gallery of these records.
        name: name of the protocol.

    Raises:
        InputError: a query id of the gallery is in no record.
    """
    query_ids, own, person_ids = flatten_queries(records)
    if unknown := set(gallery.query_ids.tolist()) - set(query_ids.tolist()):
        raise InputError(
            f"protocol {name!r}: query {min(unknown)} is on no image of the dataset; "
            f"expected some of its {len(query_ids)} queries"
        )
    rows = np.searchsorted(query_ids, gallery.query_ids)
    annotations = LabeledBoxes.from_annotations(records)
    query, targets = _find_people(annotations, person_ids[rows])
    in_gallery = np.zeros((len(rows), len(records)), dtype=bool)
    for row in range(len(rows)):  # one index of all rows takes 16 times more memory
        in_gallery[row, gallery.images.row(row)] = True
    keep = in_gallery[query, annotations.images[targets]]
    query, targets = query[keep], targets[keep]
    on_own_image = np.flatnonzero(annotations.images[targets] == own[rows][query])
    own_boxes = _find_query_boxes(
        records, annotations, gallery.query_ids[query], targets, on_own_image
    )
    query, targets = np.delete(query, own_boxes), np.delete(targets, own_boxes)
    boxes = TargetBoxes(annotations.images[targets].astype(np.int32), annotations.boxes[targets])
    return SearchProtocol(
        name=name,
        image_ids=np.array([image_key(record) for record in records], dtype=np.str_),
        query_ids=gallery.query_ids,
        galleries=gallery.images,
        targets=Ragged.from_lengths(boxes, np.bincount(query, minlength=len(rows))),
    )


def _find_people(
    annotations: LabeledBoxes, person_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (query, annotation) pairs of equal identity, in the order of queries and annotations.

    Args:
        annotations: (A,) boxes.
        person_ids: (Q,) identity of each query.
    """
    identities, identity = np.unique(person_ids, return_inverse=True)
    known = np.flatnonzero(np.isin(annotations.person_ids, identities))
    rows = np.searchsorted(identities, annotations.person_ids[known])
    order = np.argsort(rows, kind="stable")
    boxes = Ragged.from_lengths(known[order], np.bincount(rows, minlength=len(identities)))
    query, position = boxes.expand(identity)
    return query, boxes.values[position]


def _find_query_boxes(
    records: Sequence[dict],
    annotations: LabeledBoxes,
    queries: np.ndarray,
    targets: np.ndarray,
    on_own_image: np.ndarray,
) -> list[int]:
    """Return positions of query boxes among the targets, beside another box of the person.

    Args:
        records: records with the query boxes.
        annotations: (A,) boxes.
        queries: (T,) query ids.
        targets: (T,) positions in the annotations.
        on_own_image: positions of targets on the image of their query; rare.
    """
    boxes = query_boxes(records) if len(on_own_image) else {}
    found = []
    for query in np.unique(queries[on_own_image]).tolist():
        same = on_own_image[queries[on_own_image] == query]
        distances = np.abs(annotations.boxes[targets[same]] - boxes[query]).max(axis=1)
        if len(same) > 1 and distances.min() < _SAME_BOX:
            found.append(int(same[distances.argmin()]))
    return found
