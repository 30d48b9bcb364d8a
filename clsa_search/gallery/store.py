"""What every engine of the gallery store does, and the records that go in and come out.

Shape letters: Q queries, K matches of each, D width of a embedding.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch

from clsa_search.errors import InputError
from clsa_search.gallery.gallery_images import GalleryImage, find_faulty_embedding


@dataclass(frozen=True)
class StoredDetection:
    """One person found; see `GalleryImage` for the fields it shares."""

    row_id: int
    source: str
    frame: int | None
    time: float | None
    camera: str | None
    box: tuple[float, float, float, float]  # XYXY in pixels of the source
    score: float
    embedding: np.ndarray  # (D,)


@dataclass(frozen=True)
class IndexProgress:
    """How far a file is indexed."""

    source: str  # path
    fingerprint: str  # what shows that it changed, such as its size and time
    next_frame: int | None = None  # all before it are stored; None: the whole file is
    after: int | None = None  # the stored `next_frame` that this goes on from; None: a beginning
    replaces: "Source | None" = None  # what is stored of another state of the file, and goes


class IndexConflict(InputError):
    """Somebody else has indexed these sources, or is doing it."""

    def __init__(self, address: str, sources: Sequence[str]) -> None:
        self.sources = list(sources)
        super().__init__(
            f"{address}: another process indexes {', '.join(sources)}; expected one for each file"
        )


@dataclass(frozen=True)
class Source:
    """A file that people were found in, or that was searched for them in vain."""

    path: str
    fingerprint: str | None  # as given with `IndexProgress`; None: never
    next_frame: int | None
    detections: int

    @property
    def is_complete(self) -> bool:
        return self.fingerprint is not None and self.next_frame is None


@dataclass(frozen=True)
class Filter:
    """Which rows to search; None leaves a field free. What no row has matches nothing."""

    cameras: Sequence[str] | None = None
    sources: Sequence[str] | None = None
    since: float | None = None  # seconds, inclusive; photographs have no time and drop out
    until: float | None = None
    min_score: float | None = None


class Matches(NamedTuple):
    """The most similar rows of each query, best first; of equal similarities the lower row id.

    K is what was asked for, or less where the filter leaves less.
    """

    row_ids: np.ndarray  # (Q, K) int64
    similarities: np.ndarray  # (Q, K)


class GalleryStore(ABC):
    """A gallery that several processes may fill and search at once.

    All embeddings of a store come from one model and have one width. Row ids ascend in the order
    of adding and are never used again. Every operation raises InputError where the store cannot be
    read or written; what was acknowledged before stays.
    """

    address: str

    @property
    @abstractmethod
    def weights(self) -> str:
        """Hash of the weights that make the embeddings."""

    @property
    @abstractmethod
    def width(self) -> int | None:
        """D; None as long as nothing was added."""

    @property
    @abstractmethod
    def about(self) -> dict[str, str]:
        """What was said when the gallery was made, such as where the weights lie."""

    @abstractmethod
    def add(
        self, scenes: Sequence[GalleryImage], progress: Sequence[IndexProgress] = ()
    ) -> np.ndarray:
        """Store all of the scenes' people and the progress, or none; on return they are on disk.

        Large batches are much faster than small ones. Of a scene without people nothing is kept;
        progress remembers its source.

        Args:
            scenes: may be none.
            progress: replaces what is known of these sources, and where it says so, their people.

        Returns:
            Their row ids (int64), scene after scene.

        Raises:
            InputError: a scene is malformed or its embeddings have another width than the
                store's, or the store was opened without weights.
            IndexConflict: the stored progress of a source is not what the new one goes on from.
        """

    @abstractmethod
    def delete(self, source: str) -> int:
        """Forget a source, its people and its progress; gives the number of rows deleted."""

    @abstractmethod
    def count(self, where: Filter | None = None) -> int:
        """Number of rows."""

    @abstractmethod
    def sources(self) -> list[Source]:
        """All that are stored, wholly or in part, in the order they came."""

    @abstractmethod
    def search(
        self,
        queries: np.ndarray | torch.Tensor,
        k: int,
        where: Filter | None = None,
        per: Literal["image", "match"] = "match",
    ) -> Matches:
        """Find the rows whose embeddings are most similar (inner product) to the queries.

        Args:
            queries: (Q, D) unit rows made by the store's weights.
            k: matches of each query.
            where: only these rows.
            per: "image" leaves the best match of each photograph or frame only.

        Raises:
            InputError: the queries' shape or values are wrong, or k is less than 1.
        """

    @abstractmethod
    def get(self, row_ids: Sequence[int] | np.ndarray) -> list[StoredDetection]:
        """The entries with these ids, in their order.

        Raises:
            InputError: there is no such row, or no more.
        """

    @abstractmethod
    def scan(self, after: int = 0, limit: int = 1000) -> list[StoredDetection]:
        """The first entries whose row ids are higher than `after`, in the order of their ids.

        Args:
            after: row id that the last call ended with.
            limit: 1 to 10,000; fewer come back at the end only.
        """

    def cameras(self) -> list[str]:
        """Names of the cameras, sorted; an engine that knows them overrides this walk."""
        names, after = set(), 0
        while entries := self.scan(after, 10_000):
            names.update(entry.camera for entry in entries)
            after = entries[-1].row_id
        return sorted(names - {None})

    def remove_leftovers(self) -> int:
        """Remove people that interrupted adds have left; nobody may be adding. Gives their number.

        An engine whose adds are all or nothing leaves none.
        """
        return 0

    @abstractmethod
    def close(self) -> None:
        """Free what is held; the store can be opened again."""

    def __enter__(self) -> "GalleryStore":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def check_weights(address: str, weights: str | None, stored: str) -> None:
    """Refuse to mix.

    Raises:
        InputError: the weights are others than those stored.
    """
    if weights not in (None, stored):
        raise InputError(
            f"{address}: holds embeddings of the weights {stored}; expected these, "
            f"not {weights}: embeddings of different weights cannot be compared"
        )


def check_progress(
    address: str,
    progress: Sequence[IndexProgress],
    stored: Mapping[str, tuple[str | None, int | None]],
) -> None:
    """See that each goes on from what is stored.

    Args:
        address: of the store, for errors.
        progress: new.
        stored: fingerprint and next frame of the sources that are known.

    Raises:
        IndexConflict: one does not.
    """
    overtaken = []
    for one in progress:
        expected = (None, None) if one.after is None else (one.fingerprint, one.after)
        if one.replaces is not None:
            expected = one.replaces.fingerprint, one.replaces.next_frame
        if stored.get(one.source, (None, None)) != expected:
            overtaken.append(one.source)
    if overtaken:
        raise IndexConflict(address, overtaken)


def check_queries(
    address: str, queries: np.ndarray | torch.Tensor, width: int | None, k: int, per: str
) -> torch.Tensor:
    """Arguments of a search: the queries as float32.

    Raises:
        InputError: see `GalleryStore.search`.
    """
    queries = torch.as_tensor(queries).detach().float()
    if queries.ndim != 2 or width not in (None, queries.shape[1]):
        expected = f"(Q, {width or 'D'}), as the store's embeddings"
        raise InputError(f"{address}: queries of shape {tuple(queries.shape)}; expected {expected}")
    fault = find_faulty_embedding(queries.cpu().numpy())
    if fault:
        raise InputError(f"{address}: queries: row {fault.row} {fault.reason}")
    if k < 1:
        raise InputError(f"{address}: k: {k}; expected 1 or more")
    if per not in ("image", "match"):
        raise InputError(f"{address}: per: {per!r}; expected 'image' or 'match'")
    return queries
