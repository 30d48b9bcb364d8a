"""The records of a gallery store: input, output, filter, progress.

Shape letters: Q queries, K matches of each query, D embedding width.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery.detection_origins import Origin
from clsa_search.structures import ImageDetections


@dataclass(frozen=True)
class GalleryImage:
    """Detections of one image or of one frame of a video, to be stored.

    Args:
        source: path of the image or video file.
        detections: boxes in pixels of the source, scores, embeddings.
        frame: number of the frame in the video, from 0; None for an image.
        time: seconds; None if unknown.
        camera: name of the camera; None if unknown.
        origin: where the detections came from: the model, a file of boxes, or somebody's hand.
    """

    source: str
    detections: ImageDetections
    frame: int | None = None
    time: float | None = None
    camera: str | None = None
    origin: Origin = "model"


@dataclass(frozen=True)
class StoredDetection:
    """One detection of a gallery.

    Args:
        detection_id: positive number, never used for another detection of the gallery.
        source: path of the image or video file.
        frame: number of the frame in the video, from 0; None for an image.
        time: seconds; None if unknown.
        camera: name of the camera; None if unknown.
        box: XYXY in pixels of the source.
        score: detection score.
        embedding: (D,) float32 of unit length.
        origin: see `GalleryImage`.
    """

    detection_id: int
    source: str
    frame: int | None
    time: float | None
    camera: str | None
    box: tuple[float, float, float, float]
    score: float
    embedding: np.ndarray
    origin: Origin = "model"


@dataclass(frozen=True)
class Tracklet:
    """Detections of one person in consecutive frames of a source; a photograph is one of one.

    Every detection belongs to exactly one tracklet: until its source is linked, to one of its own.

    Args:
        tracklet_id: lowest id of its detections.
        source: path of the image or video file.
        camera: name of the camera; None if unknown.
        first: time of the first detection in seconds; None if unknown.
        last: time of the last one.
        first_frame: frame of the first detection; None for an image.
        last_frame: frame of the last one.
        detections: number of detections.
        best: id of the detection to show.
        purity: lowest similarity of a detection with the embedding; 1 for a single one.
        embedding: (D,) float32 of unit length; None where it was not read.
        score: highest detection score.
        chain: id of the first tracklet of the person on this camera, across clips that follow each
            other; its own id if it continues none.
    """

    tracklet_id: int
    source: str
    camera: str | None
    first: float | None
    last: float | None
    first_frame: int | None
    last_frame: int | None
    detections: int
    best: int
    purity: float
    embedding: np.ndarray | None
    score: float
    chain: int


@dataclass(frozen=True)
class Note:
    """A record beside the detections: a person of the watch list, a verdict, a calibration.

    Args:
        kind: name of its kind, such as "person".
        values: its fields; plain numbers, texts, lists and dictionaries.
        detection: id of the detection it is about; the note is deleted with it.
        data: bytes, such as an embedding or a JPEG; at most 40,000 on Milvus.
        note_id: positive number, never used for another note; None for a new one.
    """

    kind: str
    values: Mapping[str, Any]
    detection: int | None = None
    data: bytes | None = None
    note_id: int | None = None


@dataclass(frozen=True)
class Match:
    """A search result.

    Args:
        detection: the stored detection; of a tracklet, the one to show.
        similarity: inner product of its embedding, or of the tracklet's, with the query.
        tracklet: the tracklet, in a search for tracklets.
    """

    detection: StoredDetection
    similarity: float
    tracklet: Tracklet | None = None


class SearchHits(NamedTuple):
    """Ids and similarities of the most similar detections or tracklets of each query.

    Rows are sorted by similarity, highest first, and then by id. K is the requested number, or
    less if fewer of them pass the filter.
    """

    ids: np.ndarray
    """(Q, K) int64."""

    similarities: np.ndarray
    """(Q, K) float32."""

    @classmethod
    def empty(cls, queries: int) -> "SearchHits":
        """Return no hits for a number of queries."""
        return cls(np.empty((queries, 0), np.int64), np.empty((queries, 0), np.float32))


@dataclass(frozen=True)
class Filter:
    """A condition on detections; a field of None accepts all, an unknown name matches none.

    A tracklet passes if it was seen at some time of the filter, and its highest score passes.

    Args:
        cameras: accepted cameras.
        sources: accepted paths of sources.
        since: earliest time in seconds, inclusive; detections without a time do not pass.
        until: latest time in seconds, inclusive; detections without a time do not pass.
        min_score: lowest detection score, inclusive.
    """

    cameras: Sequence[str] | None = None
    sources: Sequence[str] | None = None
    since: float | None = None
    until: float | None = None
    min_score: float | None = None

    def __post_init__(self) -> None:
        """Check the types of the fields.

        Raises:
            InputError: names are not in a list, or a bound is not a number.
        """
        for name in ("cameras", "sources"):
            value = getattr(self, name)
            is_list = isinstance(value, Collection) and not isinstance(value, str | bytes)
            if value is not None and not (is_list and all(isinstance(one, str) for one in value)):
                raise InputError(f"filter: {name}: {value!r}; expected a list of texts, or None")
        for name in ("since", "until", "min_score"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Real):
                raise InputError(f"filter: {name}: {value!r}; expected a number, or None")


@dataclass(frozen=True)
class Source:
    """An indexed image or video file, with or without detections.

    Args:
        path: path of the file.
        fingerprint: state of the file in its `IndexProgress`; None if no progress was stored.
        next_frame: first frame of a video to index next; None at the end.
        detections: number of stored detections.
        camera: name of the camera; None if unknown.
        start: POSIX time of the first frame in seconds; None if unknown.
        start_from: origin of the start: "given", "name", "exif", "container" or "mtime".
        tracklets: number of tracklets.
        is_linked: whether its tracklets are up to date.
    """

    path: str
    fingerprint: str | None
    next_frame: int | None
    detections: int
    camera: str | None = None
    start: float | None = None
    start_from: str | None = None
    tracklets: int = field(default=0, compare=False)
    is_linked: bool = field(default=True, compare=False)

    @property
    def is_complete(self) -> bool:
        """Whether the whole file is indexed."""
        return self.fingerprint is not None and self.next_frame is None


class Placement(NamedTuple):
    """Camera and start of a source.

    Args:
        camera: name of the camera; None if unknown.
        start: time of the first frame in seconds; None if unknown.
        start_from: origin of the start: "given", "name", "exif", "container", "mtime" or
            "sequence"; None if unknown.
    """

    camera: str | None
    start: float | None
    start_from: str | None


@dataclass(frozen=True)
class IndexProgress:
    """Progress of indexing one file.

    Args:
        source: path of the file.
        fingerprint: state of the file, such as its size and its time of change.
        next_frame: first frame of a video to index next; None if the whole file is indexed.
        after: `next_frame` of the stored progress before this one; None at the start.
        replaces: stored source of an older state of the file, to be deleted.
        camera: see `Source`; None keeps a stored one.
        start: see `Source`; None keeps a stored one.
        start_from: see `Source`.
        keeps_drawn: whether a replaced source keeps its detections drawn by hand.
    """

    source: str
    fingerprint: str
    next_frame: int | None = None
    after: int | None = None
    replaces: Source | None = None
    camera: str | None = None
    start: float | None = None
    start_from: str | None = None
    keeps_drawn: bool = False


class IndexConflict(InputError):
    """Another process indexes the same sources.

    Args:
        address: address of the store.
        sources: paths of the sources.
    """

    def __init__(self, address: str, sources: Sequence[str]) -> None:
        self.sources = list(sources)
        super().__init__(
            f"{address}: another process indexes {', '.join(sources)}; "
            "expected one process for each file"
        )
