"""Tracklets and notes of a gallery on Milvus."""

from typing import Any, NoReturn

from clsa_search.errors import InputError
from clsa_search.gallery.store_records import Note
from clsa_search.gallery.tracklet_store import TrackletStore


class MilvusTracklets(TrackletStore):
    """Tracklets on Milvus: not yet."""

    address: str

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise InputError(f"{self.address}: sightings are stored in SQLite files only")

    tracklets = count_tracklets = get_tracklets = find_tracklets = tracklet_detections = _refuse
    search_tracklets = set_tracklets = reset_tracklets = delete_detections = _refuse
    chain_tracklets = write_notes = _refuse

    def unlinked(self) -> list[str]:
        """See `TrackletStore`."""
        return []

    def notes(self, kind: str, detection: int | None = None) -> list[Note]:
        """See `TrackletStore`; none can be written yet."""
        return []
