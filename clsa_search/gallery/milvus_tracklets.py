"""Tracklets and notes of a gallery on Milvus.

Every change is made so that a process killed at any point leaves a source that is not linked, and
all of its detections: linking again completes it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from clsa_search.errors import InputError
from clsa_search.gallery.input_checks import check_ids, check_listing, check_queries
from clsa_search.gallery.milvus_detections import DetectionTable
from clsa_search.gallery.milvus_notes import NoteTable
from clsa_search.gallery.milvus_ranking import check_k, rank_rows, write_condition
from clsa_search.gallery.milvus_server import reported
from clsa_search.gallery.milvus_sources import SourceTable
from clsa_search.gallery.milvus_table import make_key
from clsa_search.gallery.milvus_tracklet_table import to_record
from clsa_search.gallery.store_records import (
    Filter,
    IndexProgress,
    Note,
    SearchHits,
    StoredDetection,
    Tracklet,
)
from clsa_search.gallery.tracklet_checks import check_notes, check_tracklets, select_known
from clsa_search.gallery.tracklet_store import ReadNotes, TrackletOrder, TrackletStore

_SCAN_ROWS = 2000


class MilvusTracklets(TrackletStore):
    """Tracklets and notes on Milvus; see `TrackletStore`."""

    _detections: DetectionTable
    _sources: SourceTable
    _notes: NoteTable

    def tracklets(
        self,
        where: Filter | None = None,
        order_by: TrackletOrder = "id",
        limit: int | None = None,
        offset: int = 0,
        *,
        embeddings: bool = False,
    ) -> list[Tracklet]:
        """See `TrackletStore`."""
        check_listing(self.address, order_by, limit, offset, ("id", "time"))
        condition = self._write_condition(where)
        if self._detections.width is None:
            return []
        found = [to_record(row) for row in self._detections.tracklets.scan_all(condition)]
        if order_by == "time":  # unknown times before all; sorting keeps the order of ids
            found.sort(key=lambda one: (one.first is not None, one.first or 0))
        found = found[offset : None if limit is None else offset + limit]
        if not embeddings:
            return found
        return self.get_tracklets([one.tracklet_id for one in found])

    def count_tracklets(self, where: Filter | None = None) -> int:
        """See `TrackletStore`."""
        condition = self._write_condition(where)
        if self._detections.width is None:
            return 0
        return self._detections.tracklets.count(condition)

    def get_tracklets(
        self, ids: Sequence[int] | np.ndarray, *, embeddings: bool = True
    ) -> list[Tracklet]:
        """See `TrackletStore`."""
        found = self._read(check_ids(self.address, ids), embeddings=embeddings)
        return [one for one, _ in found]

    def chain_tracklets(self, chains: Sequence[int] | np.ndarray) -> list[Tracklet]:
        """See `TrackletStore`."""
        wanted = sorted(set(check_ids(self.address, chains)))
        if self._detections.width is None or not wanted:
            return []
        rows = self._detections.tracklets.scan_all(f"chain in {wanted}")
        return [to_record(row) for row in rows]

    def find_tracklets(self, detections: Sequence[int] | np.ndarray) -> list[int]:
        """See `TrackletStore`."""
        wanted = check_ids(self.address, detections)
        stored = self._detections.read(wanted)
        found = {
            member: tracklet
            for source in sorted({one.source for one in stored.values()})
            for tracklet, members in self._detections.tracklets.list_of(source).items()
            for member in members
        }
        known = {one: found.get(one, one) for one in stored}
        return select_known(self.address, wanted, known, "detection")

    def tracklet_detections(self, tracklet_id: int) -> list[StoredDetection]:
        """See `TrackletStore`."""
        ((_, members),) = self._read(check_ids(self.address, [tracklet_id]))
        found = self._detections.read(members)
        return [found[one] for one in members if one in found]

    def list_members(self, tracklets: Sequence[int]) -> list[int]:
        """See `UpkeepStore`."""
        found = self._read(check_ids(self.address, tracklets))
        return sorted({member for _, members in found for member in members})

    def search_tracklets(
        self, embeddings: np.ndarray | torch.Tensor, k: int, where: Filter | None = None
    ) -> SearchHits:
        """See `TrackletStore`."""
        width = self._detections.width
        queries = check_queries(self.address, embeddings, width, k, "match").cpu().numpy()
        check_k(self.address, k)
        condition = self._write_condition(where)
        if width is None or not len(queries):
            return SearchHits.empty(len(queries))
        return rank_rows(self._detections.tracklets, queries, k, condition, group="chain")

    def set_tracklets(
        self, source: str, tracklets: Sequence[Tracklet], members: Sequence[Sequence[int]]
    ) -> None:
        """See `TrackletStore`."""
        if source not in self._sources.list_paths():
            raise InputError(f"{self.address}: {source}: is not indexed; expected an indexed one")
        width = self._detections.width
        stored = [] if width is None else self._list_detections(source)
        check_tracklets(self.address, source, tracklets, members, stored, width)
        if width is not None:
            self._notes.write_origins({source: {"linked": False}})
            table = self._detections.tracklets
            before = table.list_of(source)
            table.write(self._fill(tracklets), members)
            table.delete_ids(before.keys() - {one.tracklet_id for one in tracklets})
        self._notes.write_origins({source: {"linked": True, "tracklets": len(tracklets)}})

    def reset_tracklets(self) -> None:
        """See `TrackletStore`."""
        if self._detections.width is not None:
            self._detections.tracklets.delete("id >= 0")
            self._make_singles()

    def preload(self) -> None:
        """See `TrackletStore`; the server holds all."""

    def unlinked(self) -> list[str]:
        """See `TrackletStore`."""
        origins = self._notes.read_origins()
        paths = self._sources.list_paths()
        return [path for path in paths if not origins.get(path, {"linked": True})["linked"]]

    def delete_detections(self, ids: Collection[int]) -> int:
        """See `TrackletStore`."""
        found = self._detections.read(sorted(check_ids(self.address, list(ids))))
        sources: dict[str, set[int]] = {}
        for one in found.values():
            sources.setdefault(one.source, set()).add(one.detection_id)
        for source, gone in sources.items():
            before = self._notes.read_origins([source]).get(source, {})
            if any(found[one].frame is not None for one in gone):
                self._notes.write_origins({source: {"linked": False}})
            after = self._dissolve(source, gone, before)
            self._delete_notes_of(gone)
            self._notes.drop_detections([one for one in found.values() if one.source == source])
            self._detections.delete_ids(gone)
            self._sources.subtract(source, len(gone))
            if after:
                self._notes.write_origins({source: after})
        return len(found)

    def read_notes(self, kind: str, detection: int | None = None) -> ReadNotes:
        """See `TrackletStore`."""
        return self._notes.read_notes(kind, detection)

    def note_state(self, kind: str) -> tuple[int, int]:
        """See `TrackletStore`."""
        return self._notes.read_note_state(kind)

    def write_notes(self, notes: Sequence[Note], delete: Collection[int] = ()) -> list[int]:
        """See `TrackletStore`."""
        check_notes(self.address, notes)
        return self._notes.write_notes(notes, check_ids(self.address, list(delete)))

    def _read(
        self, ids: Sequence[int], *, embeddings: bool = False
    ) -> list[tuple[Tracklet, list[int]]]:
        found: Mapping[int, tuple[Tracklet, list[int]]] = {}
        if self._detections.width is not None:
            found = self._detections.tracklets.read(ids, embeddings=embeddings)
        return select_known(self.address, ids, found)

    def _fill(self, tracklets: Sequence[Tracklet]) -> list[Tracklet]:
        """Return tracklets with embeddings; single ones may lack theirs."""
        missing = [one.tracklet_id for one in tracklets if one.detections == 1]
        found = self._detections.read(missing)
        return [
            replace(one, embedding=found[one.tracklet_id].embedding)
            if one.tracklet_id in found
            else one
            for one in tracklets
        ]

    def _dissolve(self, source: str, gone: set[int], before: Mapping[str, Any]) -> dict[str, Any]:
        """Make the other detections of the tracklets of deleted ones tracklets of their own.

        Args:
            source: path of the source.
            gone: ids of deleted detections.
            before: record of the source.

        Returns:
            Fields of the record when all is deleted.
        """
        table = self._detections.tracklets
        known = table.list_of(source)
        touched = {i: m for i, m in known.items() if gone & set(m)}
        left = [one for members in touched.values() for one in members if one not in gone]
        table.add_singles(self._detections.read(left).values())
        table.delete_ids(touched.keys() - set(left))
        after = {} if left or not before else {"linked": before["linked"]}
        if before.get("tracklets") is not None:
            after["tracklets"] = len(known) - len(touched) + len(left)
        return after

    def _replace_notes(self, progress: IndexProgress) -> None:
        """Delete the notes of the detections that new progress of a source replaces."""
        self._forget_notes(progress.source, keeps_drawn=progress.keeps_drawn)

    def _forget_notes(self, source: str, *, keeps_drawn: bool = False) -> None:
        """Delete the notes of the detections of a source."""
        if self._detections.width is not None:
            kept = self._detections.list_drawn([source]) if keeps_drawn else []
            gone = {*self._list_detections(source)} - {one.detection_id for one in kept}
            self._delete_notes_of(gone)

    def _delete_notes_of(self, detections: Collection[int]) -> None:
        noted = [one for one in self._notes.list_noted() if one in set(detections)]
        if noted:
            self._notes.delete(f"detection in {noted}")

    def _list_detections(self, source: str) -> list[int]:
        condition = f"source_key == {make_key(source)}"
        return self._detections.list_ids(condition, "id", None, 0)

    def _write_condition(self, where: Filter | None) -> str:
        with reported(self.address, "read"):
            return write_condition(where, first="first", last="last")

    def _make_singles(self) -> None:
        """Give each detection a tracklet of its own; videos are not linked then."""
        after, videos = 0, set[str]()
        while detections := self._detections.read_next(after, _SCAN_ROWS):
            self._detections.tracklets.add_singles(detections)
            videos.update(one.source for one in detections if one.frame is not None)
            after = detections[-1].detection_id
        self._notes.write_origins({path: {"linked": False} for path in sorted(videos)})
