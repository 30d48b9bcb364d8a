"""The check of a dataset on disk: faults to repair, and peculiarities worth knowing."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from clsa_search.data.builtin import PUBLISHED_SPLITS, Counts, GallerySize
from clsa_search.data.catalog import get_records, list_galleries, load_gallery
from clsa_search.data.galleries import Gallery
from clsa_search.data.image_checks import find_image_faults
from clsa_search.data.labeled_boxes import LabeledBoxes
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED
from clsa_search.wording import count_noun

_SHOWN = 10  # members of a group named in a message


class Count(NamedTuple):
    """A number of things in a dataset and the expected number, None if it is not known."""

    name: str
    found: int
    expected: int | None


@dataclass
class DatasetReport:
    """Results of a check.

    Args:
        counts: numbers of images, boxes, queries and others.
        notes: peculiarities; evaluation handles them.
        faults: errors to repair.
    """

    counts: list[Count] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def check_dataset(
    name: str, *, fast: bool = False, on_image: Callable[[], object] = lambda: None
) -> DatasetReport:
    """Check files, counts, boxes, identities, queries and galleries of a dataset.

    Args:
        name: dataset or custom JSON file.
        fast: read only the headers of images, which overlooks cut and damaged files.
        on_image: called after each image of the records.

    Raises:
        InputError: the dataset cannot be read at all.
    """
    records = get_records(name)
    published = PUBLISHED_SPLITS.get(name)
    gallery_sizes = published.gallery_sizes if published else {}
    report = DatasetReport()
    boxes, queries = LabeledBoxes.from_annotations(records), LabeledBoxes.from_queries(records)
    _check_counts(records, boxes, queries, published.counts if published else Counts(), report)
    report.faults.extend(find_image_faults(records, fast=fast, on_image=on_image))
    _check_repeated_files(records, report)
    _check_boxes(records, boxes, report)
    _check_queries(boxes, queries, report)
    for protocol in list_galleries(name):
        try:
            gallery = load_gallery(name, protocol)
        except InputError as error:
            report.faults.append(f"{protocol}: {error}")
            continue
        _check_gallery_size(protocol, gallery, gallery_sizes.get(protocol), report)
        _check_gallery(protocol, gallery, queries, boxes, report)
    return report


def _check_counts(
    records: Sequence[dict],
    boxes: LabeledBoxes,
    queries: LabeledBoxes,
    expected: Counts,
    report: DatasetReport,
) -> None:
    labeled = boxes.person_ids[boxes.person_ids != UNLABELED]
    numbers = len(records), len(boxes), len(labeled), len(np.unique(labeled)), len(queries)
    for name, found, right in zip(Counts._fields, numbers, expected, strict=True):
        report.counts.append(Count(name, found, right))
        if right is not None and found != right:
            report.faults.append(f"{name}: {found}; expected {right}")


def _check_repeated_files(records: Sequence[dict], report: DatasetReport) -> None:
    counts = Counter(record["file_name"] for record in records)
    if repeated := [name for name, count in counts.items() if count > 1]:
        files = count_noun(len(repeated), "file")
        report.faults.append(f"{files} of more than one image: {_join(repeated)}")


def _check_boxes(records: Sequence[dict], boxes: LabeledBoxes, report: DatasetReport) -> None:
    rows = np.column_stack([boxes.images, boxes.boxes])
    _, first, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
    _note_images("with the same box twice", boxes.images[first[counts > 1]], records, report)
    labeled = boxes[boxes.person_ids != UNLABELED]
    pairs, counts = np.unique(
        np.column_stack([labeled.person_ids, labeled.images]), axis=0, return_counts=True
    )
    _note_images("with two boxes of one identity", pairs[counts > 1, 1], records, report)
    empty = np.setdiff1d(np.arange(len(records)), boxes.images)
    _note_images("without boxes", empty, records, report)
    if len(boxes) and not len(labeled):
        report.notes.append("no box has an identity: the re-ID has nothing to train on or to find")
    if once := int((np.bincount(labeled.person_ids) == 1).sum()):
        report.notes.append(f"{count_noun(once, 'identity', 'identities')} with one box only")


def _check_queries(boxes: LabeledBoxes, queries: LabeledBoxes, report: DatasetReport) -> None:
    unlabeled = np.flatnonzero(queries.person_ids == UNLABELED)
    if len(unlabeled):
        report.faults.append(f"{_name_queries(unlabeled)}: no person id")
    order = np.argsort(boxes.person_ids, kind="stable")
    person_ids = queries.person_ids
    bounds = np.searchsorted(boxes.person_ids[order], [person_ids, person_ids + 1])
    alone, apart = [], []
    for query, (start, stop) in enumerate(bounds.T):
        same_person = boxes[order[start:stop]]
        same_image = same_person.images == queries.images[query]
        if same_image.all():
            alone.append(query)
        distances = np.abs(same_person.boxes[same_image] - queries.boxes[query]).max(axis=1)
        if not (distances <= 1).any():  # pixel
            apart.append(query)
    if alone:
        report.notes.append(f"{_name_queries(alone)}: the person is in no other image")
    if apart:
        report.notes.append(f"{_name_queries(apart)}: no equal ground-truth box of the person")


def _check_gallery_size(
    protocol: str, gallery: Gallery, expected: GallerySize | None, report: DatasetReport
) -> None:
    found = len(gallery.query_ids)
    report.counts.append(
        Count(f"{protocol}: queries", found, expected.queries if expected else None)
    )
    if expected is None:
        return
    if found != expected.queries:
        report.faults.append(
            f"{protocol}: {count_noun(found, 'query', 'queries')}; expected {expected.queries}"
        )
    wrong = gallery.query_ids[gallery.images.lengths != expected.images]
    if wrong.size:
        report.faults.append(
            f"{protocol}: {_name_queries(wrong)}: gallery of another size; "
            f"expected {count_noun(expected.images, 'image')}"
        )


def _check_gallery(
    protocol: str,
    gallery: Gallery,
    queries: LabeledBoxes,
    boxes: LabeledBoxes,
    report: DatasetReport,
) -> None:
    images = gallery.images.values
    query_ids = gallery.query_ids[gallery.images.owners]
    own = np.unique(query_ids[images == queries.images[query_ids]])
    if own.size:
        report.notes.append(f"{protocol}: {_name_queries(own)}: own image in the gallery")
    # pairs as one integer: NumPy sorts millions of rows of two much more slowly
    stride = 1 + max(boxes.images.max(initial=0), images.max(initial=0))
    pairs, counts = np.unique(query_ids * stride + images, return_counts=True)
    repeated = np.unique(pairs[counts > 1] // stride)
    if repeated.size:
        report.notes.append(f"{protocol}: {_name_queries(repeated)}: an image listed twice")
    labeled = boxes[boxes.person_ids != UNLABELED]
    shown = np.isin(
        queries.person_ids[query_ids] * stride + images,
        labeled.person_ids * stride + labeled.images,
    )
    missing = np.setdiff1d(gallery.query_ids, query_ids[shown])
    if missing.size:
        report.faults.append(f"{protocol}: {_name_queries(missing)}: the person is in no image")


def _note_images(
    what: str, images: np.ndarray, records: Sequence[dict], report: DatasetReport
) -> None:
    names = [records[i]["image_id"] for i in np.unique(images)]
    if names:
        report.notes.append(f"{count_noun(len(names), 'image')} {what}: {_join(names)}")


def _name_queries(query_ids: Sequence[int] | np.ndarray) -> str:
    return f"{'query' if len(query_ids) == 1 else 'queries'} {_join(query_ids)}"


def _join(members: Iterable[object]) -> str:
    names = [str(member) for member in members]
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join(names[:_SHOWN] + more)
