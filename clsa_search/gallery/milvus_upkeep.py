"""Upkeep of a gallery on Milvus."""

import random
import threading
from typing import Any

from clsa_search.errors import InputError
from clsa_search.gallery.milvus_detections import DetectionTable
from clsa_search.gallery.milvus_notes import NoteTable
from clsa_search.gallery.milvus_server import reported
from clsa_search.gallery.milvus_sources import SourceTable
from clsa_search.gallery.milvus_table import make_key
from clsa_search.gallery.store_records import Placement
from clsa_search.gallery.upkeep import UpkeepStore
from clsa_search.wording import count_noun

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
            self.check_ids_stay(source)
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

    def check_ids_stay(self, source: str) -> None:
        """Check that notes keep their detections when a source is written again.

        Raises:
            InputError: the server may give them other ids, and there are notes on them.
        """
        if not self.address.startswith("http") or not self._detections.may_change_ids:
            return
        condition = f"source_key == {make_key(source)}"
        mine = set(self._detections.list_ids(condition, "id", None, 0))
        noted = len(mine & set(self._notes.list_noted()))
        if noted:
            raise InputError(
                f"{self.address}: {source}: {count_noun(noted, 'sighting')} with verdicts or hits "
                "would lose them: this gallery was made by an earlier version, and its server may "
                f"give the detections other ids; expected `clsa-search copy {self.address} NEW` "
                "first: the ids of the copy stay"
            )

    def _complete(self, source: str, change: dict[str, Any]) -> dict[str, Any]:
        """Change the detections that are not changed yet; return the new origin."""
        has_frames = self._detections.width is not None and self._detections.place(source, change)
        fields = {name: change[name] for name in ("camera", "start", "start_from")}
        origin = {**fields, _PLACING: None, "linked": not has_frames}
        self._notes.write_origins({source: origin})
        return origin
