"""Upkeep of a gallery on Milvus."""

import random
import threading
from typing import Any

from clsa_search.errors import InputError
from clsa_search.gallery.milvus_detections import DetectionTable
from clsa_search.gallery.milvus_notes import NoteTable
from clsa_search.gallery.milvus_server import reported
from clsa_search.gallery.milvus_sources import SourceTable
from clsa_search.gallery.store_records import Placement
from clsa_search.gallery.upkeep import UpkeepStore

_PLACING = "placing"  # field of an origin: a change that a killed process left


class MilvusUpkeep(UpkeepStore):
    """Upkeep on Milvus; see `UpkeepStore`.

    A server has no transactions: the change of a place is noted before it begins, and the next
    call completes that of a killed process. Tracklets are single until their source is linked.
    """

    address: str
    _detections: DetectionTable
    _sources: SourceTable
    _notes: NoteTable
    _lock: threading.Lock

    def place(
        self, source: str, placement: Placement, fingerprint: str | None, base: float = 0.0
    ) -> int:
        """See `UpkeepStore`."""
        with self._lock, reported(self.address, "place"):
            if source not in self._sources.list_paths():
                raise InputError(f"{self.address}: {source}: is not indexed; expected one that is")
            origin = self._notes.read_origins([source]).get(source, {})
            if origin.get(_PLACING):
                origin = self._complete(source, origin[_PLACING])
            start = None if placement.start is None else float(placement.start)
            change = {
                "number": -random.SystemRandom().getrandbits(62) - 1,
                "old": base if origin.get("start") is None else origin["start"],
                "camera": placement.camera,
                "start": start,
                "start_from": placement.start_from,
            }
            self._notes.write_origins({source: {_PLACING: change}})
            self._complete(source, change)
            return self._sources.set_fingerprint(source, fingerprint)

    def scrub(self, *, vacuum: bool = False) -> str | None:
        """See `UpkeepStore`; the server frees the space later."""
        if self._detections.width is not None:
            self._detections.compact()
            self._detections.tracklets.compact()
        self._sources.compact()
        self._notes.compact()
        return (
            f"{self.address}: the server was told to remove what was deleted and does so when it "
            "compacts its segments; until then the bytes are on its disk"
        )

    def _complete(self, source: str, change: dict[str, Any]) -> dict[str, Any]:
        """Change the detections that are not changed yet; return the new origin."""
        has_frames = self._detections.width is not None and self._detections.place(source, change)
        fields = {name: change[name] for name in ("camera", "start", "start_from")}
        origin = {**fields, _PLACING: None, "linked": not has_frames}
        self._notes.write_origins({source: origin})
        return origin
