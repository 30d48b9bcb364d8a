"""The interface of a gallery store; engines implement it.

Shape letters: Q queries, K matches of each query, D embedding width.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

from clsa_search.gallery.missing_rows import MissingRow
from clsa_search.gallery.store_records import (
    Filter,
    GalleryImage,
    IndexProgress,
    Match,
    SearchHits,
    Source,
    StoredDetection,
)
from clsa_search.gallery.tracklet_store import TrackletStore
from clsa_search.gallery.upkeep import UpkeepStore

Order = Literal["id", "time", "score"]
Per = Literal["image", "match"]


class GalleryStore(TrackletStore, UpkeepStore):
    """A gallery of detections; several processes may fill and search it at once.

    All embeddings of a store come from one model and have one width. Ids of detections ascend in
    the order of adding and are never used again. Every method raises InputError if the store
    cannot be read or written; acknowledged data stays.
    """

    address: str

    @property
    @abstractmethod
    def weights(self) -> str:
        """Hash of the model weights of the embeddings."""

    @property
    @abstractmethod
    def width(self) -> int | None:
        """Embedding width D; None until the first detection is stored."""

    @property
    @abstractmethod
    def about(self) -> dict[str, str]:
        """Notes of the creator, such as the path of the weights."""

    @abstractmethod
    def add(
        self, images: Sequence[GalleryImage], progress: Sequence[IndexProgress] = ()
    ) -> np.ndarray:
        """Store detections and progress in one transaction; on return they are on disk.

        Large batches are much faster than small ones. An image without detections stores nothing
        but the progress of its source.

        Args:
            images: detections to store; may be empty.
            progress: new progress of sources; `IndexProgress.replaces` deletes old detections.

        Returns:
            (N,) int64 ids of the detections, image after image.

        Raises:
            InputError: an image is malformed, its embeddings have another width than the store,
                or the store was opened without weights.
            IndexConflict: a source has other progress than the new one continues.
        """

    @abstractmethod
    def delete(self, source: str) -> int:
        """Delete a source, its detections and its progress.

        Returns:
            Number of deleted detections.
        """

    @abstractmethod
    def relink(self, source: str, path: str, fingerprint: str | None) -> int:
        """Give a source another path, as after a move of its file; its progress stays.

        Detections keep their ids. A call that is interrupted can be repeated.

        Args:
            source: stored path.
            path: new path.
            fingerprint: new state of the file, see `IndexProgress`; None if no progress is stored.

        Returns:
            Number of detections.

        Raises:
            InputError: the source is not stored, or the new path is another stored source.
        """

    @abstractmethod
    def count(self, where: Filter | None = None) -> int:
        """Return the number of detections in the filter."""

    @abstractmethod
    def sources(self) -> list[Source]:
        """Return all sources in the order of adding."""

    def paths(self) -> list[str]:
        """Return the paths of all sources, of a damaged gallery too."""
        return [source.path for source in self.sources()]

    @abstractmethod
    def cameras(self) -> list[str]:
        """Return the sorted names of the cameras."""

    @abstractmethod
    def search_ids(
        self,
        embeddings: np.ndarray | torch.Tensor,
        k: int,
        where: Filter | None = None,
        per: Per = "match",
    ) -> SearchHits:
        """Find the detections with the highest inner products, as arrays.

        Args:
            embeddings: (Q, D) query embeddings of unit length, computed with the store's weights.
            k: number of detections for each query.
            where: filter of the detections.
            per: "image" keeps the best detection of each image or frame only.

        Raises:
            InputError: the embeddings have a wrong shape or length, or k is less than 1.
        """

    @abstractmethod
    def search(
        self,
        embeddings: np.ndarray | torch.Tensor,
        k: int,
        where: Filter | None = None,
        per: Per = "match",
    ) -> list[list[Match]]:
        """Find the detections with the highest inner products.

        Arguments and errors are those of `search_ids`. A detection that another process deletes
        during the search is found whole or not at all.

        Returns:
            Matches of each query, most similar first.
        """

    @abstractmethod
    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredDetection]:
        """Return the detections with these ids, in their order.

        Raises:
            InputError: there is no such detection.
        """

    @abstractmethod
    def scan(self, after: int = 0, limit: int = 1000) -> list[StoredDetection]:
        """Return the next detections in the order of ids.

        Args:
            after: last id of the previous call.
            limit: 1 to 10,000; fewer detections come back at the end only.
        """

    @abstractmethod
    def list_drawn(self, sources: Sequence[str]) -> list[StoredDetection]:
        """Return the detections of some sources that were drawn by hand, in the order of ids."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one state of the gallery in the block, whatever other processes write.

        An engine without transactions reads the newest state each time.
        """
        yield

    def remove_partial(self) -> int:
        """Remove detections of interrupted adds; no other process may be adding.

        An engine with transactions has none.

        Returns:
            Number of removed detections.
        """
        return 0

    @abstractmethod
    def list(
        self,
        where: Filter | None = None,
        order_by: Order = "id",
        limit: int | None = None,
        offset: int = 0,
    ) -> "list[StoredDetection]":
        """List detections.

        Args:
            where: filter of the detections.
            order_by: "id"; "time", earliest first and unknown times before all; or "score",
                highest first. Ties are in the order of ids.
            limit: largest number of detections; None: all.
            offset: number of detections to skip.

        Raises:
            InputError: the order is unknown, or a number is negative.
        """

    @abstractmethod
    def close(self) -> None:
        """Free memory and connections; the store can be opened again."""

    def __enter__(self) -> "GalleryStore":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def make_matches(hits: SearchHits, detections: Mapping[int, StoredDetection]) -> list[list[Match]]:
    """Join hits with their detections; drop hits without one."""
    return [
        [
            Match(detections[detection_id], similarity)
            for detection_id, similarity in zip(ids, similarities, strict=True)
            if detection_id in detections
        ]
        for ids, similarities in zip(hits.ids.tolist(), hits.similarities.tolist(), strict=True)
    ]


def select_detections(
    address: str, ids: Sequence[int], found: Mapping[int, StoredDetection]
) -> list[StoredDetection]:
    """Return detections in the order of ids.

    Raises:
        MissingRow: one of them was not found.
    """
    missing = [detection_id for detection_id in ids if detection_id not in found]
    if missing:
        raise MissingRow(f"{address}: there is no detection {missing[0]}; expected a stored one")
    return [found[detection_id] for detection_id in ids]
