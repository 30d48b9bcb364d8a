"""The part of a gallery store's interface that changes what is stored: places, lasting deletion."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from clsa_search.gallery.store_records import Placement


class UpkeepStore(ABC):
    """Upkeep of a gallery; see `GalleryStore`."""

    @abstractmethod
    def place(
        self, source: str, placement: Placement, fingerprint: str | None, base: float = 0.0
    ) -> int:
        """Give a source another camera and start time; detections and tracklets follow.

        Its tracklets are not up to date then: clips that follow each other may be others.

        Args:
            source: stored path.
            placement: new camera and start.
            fingerprint: new `IndexProgress.fingerprint`.
            base: time of the first frame in the stored times, if the source has no start.

        Returns:
            Number of detections.

        Raises:
            InputError: the source is not stored, or a detection of it is damaged.
        """

    @abstractmethod
    def list_members(self, tracklets: Sequence[int]) -> list[int]:
        """Return the ids of the detections of tracklets, ascending.

        Raises:
            InputError: there is no such tracklet.
        """

    @abstractmethod
    def scrub(self, *, vacuum: bool = False) -> str | None:
        """Overwrite what was deleted, so that its bytes leave the disk.

        Args:
            vacuum: also write the gallery again without the freed space.

        Returns:
            The reason why bytes may still be there, with what to do; None if they are gone.
        """
