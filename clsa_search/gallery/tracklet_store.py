"""The part of a gallery store's interface that is about tracklets and notes.

Shape letters: Q queries, K matches of each query, D embedding width.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch

from clsa_search.errors import InputError
from clsa_search.gallery.store_records import (
    Filter,
    Note,
    SearchHits,
    StoredDetection,
    Tracklet,
)

TrackletOrder = Literal["id", "time"]


class ReadNotes(NamedTuple):
    """Notes of a kind.

    Args:
        whole: the readable notes, in the order of ids.
        damaged: ids of the others, ascending.
    """

    whole: list[Note]
    damaged: list[int]


class TrackletStore(ABC):
    """Tracklets and notes of a gallery; see `GalleryStore`.

    New detections are tracklets of their own. Tracklets depend on detections alone: they can be
    computed again at any time, and keep their ids then. Deleting detections deletes their
    tracklets and notes; the other detections of these tracklets are tracklets of their own until
    their source is linked again.
    """

    address: str

    @abstractmethod
    def tracklets(
        self,
        where: Filter | None = None,
        order_by: TrackletOrder = "id",
        limit: int | None = None,
        offset: int = 0,
        *,
        embeddings: bool = False,
    ) -> list[Tracklet]:
        """List tracklets.

        Args:
            where: filter of the tracklets.
            order_by: "id"; or "time", earliest first and unknown times before all. Ties are in the
                order of ids.
            limit: largest number of tracklets; None: all.
            offset: number of tracklets to skip.
            embeddings: read their embeddings too.

        Raises:
            InputError: the order is unknown, or a number is negative.
        """

    @abstractmethod
    def count_tracklets(self, where: Filter | None = None) -> int:
        """Return the number of tracklets in the filter."""

    @abstractmethod
    def get_tracklets(
        self, ids: Sequence[int] | np.ndarray, *, embeddings: bool = True
    ) -> list[Tracklet]:
        """Return the tracklets with these ids, in their order.

        Args:
            ids: ids of tracklets.
            embeddings: read their embeddings too.

        Raises:
            InputError: there is no such tracklet.
        """

    @abstractmethod
    def chain_tracklets(self, chains: Sequence[int] | np.ndarray) -> list[Tracklet]:
        """Return all tracklets of some chains in the order of ids, without embeddings."""

    @abstractmethod
    def find_tracklets(self, detections: Sequence[int] | np.ndarray) -> list[int]:
        """Return the id of the tracklet of each detection.

        Raises:
            InputError: there is no such detection.
        """

    @abstractmethod
    def tracklet_detections(self, tracklet_id: int) -> list[StoredDetection]:
        """Return the detections of a tracklet in the order of ids.

        Raises:
            InputError: there is no such tracklet.
        """

    @abstractmethod
    def search_tracklets(
        self, embeddings: np.ndarray | torch.Tensor, k: int, where: Filter | None = None
    ) -> SearchHits:
        """Find the tracklets with the highest inner products; the best one of each chain.

        Args:
            embeddings: (Q, D) query embeddings of unit length.
            k: number of tracklets for each query.
            where: filter of the tracklets.

        Raises:
            InputError: see `GalleryStore.search_ids`.
        """

    @abstractmethod
    def set_tracklets(
        self, source: str, tracklets: Sequence[Tracklet], members: Sequence[Sequence[int]]
    ) -> None:
        """Replace the tracklets of a source in one transaction; it is linked then.

        Args:
            source: path of the source.
            tracklets: all of its tracklets; those of one detection need no embedding.
            members: ids of the detections of each.

        Raises:
            InputError: the members are not the stored detections of the source, each once, as
                after a change by another process; or a tracklet does not fit its members.
        """

    @abstractmethod
    def reset_tracklets(self) -> None:
        """Make each detection a tracklet of its own, whatever is damaged; no video is linked."""

    @abstractmethod
    def preload(self) -> None:
        """Load what a search for tracklets holds in memory; other threads need not wait for it."""

    @abstractmethod
    def unlinked(self) -> list[str]:
        """Return the paths of the sources whose tracklets are not up to date."""

    @abstractmethod
    def delete_detections(self, ids: Collection[int]) -> int:
        """Delete detections; the progress of their sources stays.

        Returns:
            Number of deleted detections.
        """

    @abstractmethod
    def read_notes(self, kind: str, detection: int | None = None) -> ReadNotes:
        """Return the notes of a kind, of one detection or of all, and the damaged ones."""

    def notes(self, kind: str, detection: int | None = None) -> list[Note]:
        """Return the notes of a kind, of one detection or of all, in the order of ids.

        Raises:
            InputError: one is damaged.
        """
        whole, damaged = self.read_notes(kind, detection)
        if damaged:
            raise InputError(
                f"{self.address}: {kind}: note {damaged[0]} is damaged; expected `clsa-search "
                f"repair {self.address}`, which deletes damaged notes and keeps the others"
            )
        return whole

    @abstractmethod
    def note_state(self, kind: str) -> tuple[int, int]:
        """Return the number of the notes of a kind and their highest id, 0 without any.

        New and deleted notes change it; notes replaced in place do not.
        """

    @abstractmethod
    def write_notes(self, notes: Sequence[Note], delete: Collection[int] = ()) -> list[int]:
        """Delete and write notes in one transaction.

        Args:
            notes: new notes; those with an id replace the stored ones.
            delete: ids of notes to delete first; unknown ones are passed over.

        Returns:
            Their ids.

        Raises:
            InputError: a note to replace is not stored.
        """
