"""Whether a dataset on disk is what it should be, and what is odd about it."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from clsa_search.data.builtin import BENCHMARKS, Counts, GallerySize
from clsa_search.data.catalog import get_records, list_galleries, load_gallery
from clsa_search.data.galleries import Gallery
from clsa_search.data.image_io import THREADS, read_image_size
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED

_SHOWN = 10  # members of a group that share a line of the report


@dataclass
class DatasetReport:
    """What was found. Faults are to be mended; notes are oddities that evaluation knows."""

    counts: list[tuple[str, int, int | None]] = field(default_factory=list)  # what, found, expected
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def check_dataset(name: str) -> DatasetReport:
    """Compare files, counts, boxes, identities, queries and galleries with what is expected.

    Raises:
        InputError: the dataset cannot be read at all.
    """
    records = get_records(name)
    benchmark = BENCHMARKS.get(name)
    gallery_sizes = benchmark.gallery_sizes if benchmark else {}
    report = DatasetReport()
    people = _People(records)
    _check_counts(records, people, benchmark.counts if benchmark else Counts(), report)
    _check_images(records, report)
    _check_people(records, people, report)
    queries = _list_queries(records)
    _check_queries(records, people, queries, report)
    for protocol in list_galleries(name):
        try:
            gallery = load_gallery(name, protocol)
        except InputError as error:
            report.faults.append(f"{protocol}: {error}")
            continue
        _check_gallery(protocol, gallery, gallery_sizes.get(protocol), queries, people, report)
    return report


class _People:
    """The annotated people of records as columns."""

    def __init__(self, records: Sequence[dict]) -> None:
        self.images = np.repeat(np.arange(len(records)), [len(r["annotations"]) for r in records])
        everybody = [person for record in records for person in record["annotations"]]
        self.boxes = np.array([p["bbox"] for p in everybody], dtype=np.float64).reshape(-1, 4)
        self.ids = np.array([p["person_id"] for p in everybody], dtype=np.int64)
        self.known = self.ids != UNLABELED
        self.image_count = len(records)

    def sightings(self) -> np.ndarray:
        """Sorted codes of (identity, image) that occur, each once."""
        return np.unique(self.encode(self.ids[self.known], self.images[self.known]))

    def encode(self, ids: np.ndarray, images: np.ndarray) -> np.ndarray:
        return ids * self.image_count + images


@dataclass(frozen=True)
class _Queries:
    """The queries of records, in their order: image, box and identity of each."""

    images: np.ndarray
    boxes: np.ndarray
    ids: np.ndarray


def _list_queries(records: Sequence[dict]) -> _Queries:
    rows = sorted(
        (query["query_id"], image, query["person_id"], query["bbox"])
        for image, record in enumerate(records)
        for query in record.get("queries", [])
    )
    return _Queries(
        images=np.array([row[1] for row in rows], dtype=np.int64),
        ids=np.array([row[2] for row in rows], dtype=np.int64),
        boxes=np.array([row[3] for row in rows], dtype=np.float64).reshape(-1, 4),
    )


def _check_counts(
    records: Sequence[dict], people: _People, expected: Counts, report: DatasetReport
) -> None:
    found = Counts(
        images=len(records),
        boxes=len(people.ids),
        labeled=int(people.known.sum()),
        identities=len(np.unique(people.ids[people.known])),
        queries=sum(len(record.get("queries", [])) for record in records),
    )
    for what, count, right in zip(Counts._fields, found, expected, strict=True):
        report.counts.append((what, count, right))
        if right is not None and count != right:
            report.faults.append(f"{what}: {count}; expected {right}")


def _check_images(records: Sequence[dict], report: DatasetReport) -> None:
    def find_fault(record: dict) -> str | None:
        try:
            width, height = read_image_size(record["file_name"])
        except InputError as error:
            return str(error)
        if (width, height) == (record["width"], record["height"]):
            return None
        return (
            f"{record['file_name']}: {width} x {height} pixels as viewed; "
            f"expected {record['width']} x {record['height']}"
        )

    with ThreadPoolExecutor(THREADS) as pool:
        report.faults.extend(filter(None, pool.map(find_fault, records)))
    names = [record["file_name"] for record in records]
    if len(set(names)) < len(names):
        report.faults.append(f"{len(names) - len(set(names))} images are listed again")


def _check_people(records: Sequence[dict], people: _People, report: DatasetReport) -> None:
    rows = np.column_stack([people.images, people.boxes])
    _, first, times = np.unique(rows, axis=0, return_index=True, return_counts=True)
    _note_images("with the same box twice", people.images[first[times > 1]], records, report)
    codes = people.encode(people.ids[people.known], people.images[people.known])
    codes, times = np.unique(codes, return_counts=True)
    twice = codes[times > 1] % max(people.image_count, 1)
    _note_images("with two boxes of one identity", twice, records, report)
    empty = np.setdiff1d(np.arange(people.image_count), people.images)
    _note_images("without people", empty, records, report)
    seen = np.bincount(people.ids[people.known])
    if once := int((seen == 1).sum()):
        report.notes.append(f"{once} identities with one box only")


def _check_queries(
    records: Sequence[dict], people: _People, queries: _Queries, report: DatasetReport
) -> None:
    unknown = np.flatnonzero(queries.ids == UNLABELED)
    if len(unknown):
        report.faults.append(f"queries without identity: {_join(unknown)}")
    order = np.argsort(people.ids, kind="stable")
    bounds = np.searchsorted(people.ids[order], [queries.ids, queries.ids + 1])
    alone, apart = [], []
    for query, (start, stop) in enumerate(bounds.T):
        same = order[start:stop]
        here = people.images[same] == queries.images[query]
        if here.all():
            alone.append(query)
        near = np.abs(people.boxes[same[here]] - queries.boxes[query]).max(axis=1) <= 1
        if not near.any():
            apart.append(query)
    if alone:
        report.notes.append(f"queries whose person is in no other image: {_join(alone)}")
    if apart:
        report.notes.append(f"queries that are no annotated box of their person: {_join(apart)}")


def _check_gallery(
    protocol: str,
    gallery: Gallery,
    expected: GallerySize | None,
    queries: _Queries,
    people: _People,
    report: DatasetReport,
) -> None:
    sizes, images = gallery.images.lengths, gallery.images.values
    report.counts.append(
        (f"{protocol}: queries", len(sizes), expected.queries if expected else None)
    )
    if expected and len(sizes) != expected.queries:
        report.faults.append(f"{protocol}: {len(sizes)} queries; expected {expected.queries}")
    if expected and (wrong := gallery.query_ids[sizes != expected.images]).size:
        report.faults.append(
            f"{protocol}: expected {expected.images} images a query, others for {_join(wrong)}"
        )
    asked = np.repeat(gallery.query_ids, sizes)
    own = np.unique(asked[images == queries.images[asked]])
    if own.size:
        report.notes.append(f"{protocol}: the query's own image is listed for {_join(own)}")
    codes, times = np.unique(asked * people.image_count + images, return_counts=True)
    if (again := np.unique(codes[times > 1] // people.image_count)).size:
        report.notes.append(f"{protocol}: an image is listed twice for {_join(again)}")
    found = np.isin(people.encode(queries.ids[asked], images), people.sightings())
    if (lost := np.setdiff1d(gallery.query_ids, asked[found])).size:
        report.faults.append(f"{protocol}: no image shows the person of {_join(lost)}")


def _note_images(
    what: str, images: np.ndarray, records: Sequence[dict], report: DatasetReport
) -> None:
    names = [records[i]["image_id"] for i in np.unique(images)]
    if names:
        report.notes.append(f"{len(names)} images {what}: {_join(names)}")


def _join(members: Iterable[object]) -> str:
    members = [str(member) for member in members]
    more = [f"and {len(members) - _SHOWN} more"] if len(members) > _SHOWN else []
    return ", ".join(members[:_SHOWN] + more)
