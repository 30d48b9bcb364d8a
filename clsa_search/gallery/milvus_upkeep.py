"""Upkeep of a gallery on Milvus."""

from typing import Any, NoReturn

from clsa_search.errors import InputError
from clsa_search.gallery.milvus_detections import DetectionTable
from clsa_search.gallery.milvus_notes import NoteTable
from clsa_search.gallery.milvus_sources import SourceTable
from clsa_search.gallery.upkeep import UpkeepStore


class MilvusUpkeep(UpkeepStore):
    """Upkeep on Milvus; places of sources not yet."""

    address: str
    _detections: DetectionTable
    _sources: SourceTable
    _notes: NoteTable

    def scrub(self, *, vacuum: bool = False) -> bool:
        """See `UpkeepStore`; the server frees the space later."""
        if self._detections.width is not None:
            self._detections.compact()
            self._detections.tracklets.compact()
        self._sources.compact()
        self._notes.compact()
        return False

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise InputError(f"{self.address}: expected a gallery in an SQLite file for this")

    place = _refuse
