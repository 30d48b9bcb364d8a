"""The collection of tracklets on Milvus."""

import base64
import zlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery.milvus_table import MAX_TEXT, Field, Table, make_key, text_field
from clsa_search.gallery.store_records import StoredDetection, Tracklet

_PAGE_ROWS, _LIST_ROWS = 1000, 10_000
_REQUEST_BYTES = 1 << 24  # of embeddings to send at a time
_FIELDS = (
    Field("id", "INT64", {"is_primary": True}),
    text_field("source"),
    Field("source_key", "INT64"),
    Field("chain", "INT64"),
    text_field("camera", nullable=True),
    Field("camera_key", "INT64", {"nullable": True}),
    Field("first", "DOUBLE", {"nullable": True}),
    Field("last", "DOUBLE", {"nullable": True}),
    Field("first_frame", "INT64", {"nullable": True}),
    Field("last_frame", "INT64", {"nullable": True}),
    Field("detections", "INT64"),
    Field("best", "INT64"),
    Field("score", "FLOAT"),
    Field("purity", "DOUBLE"),
    text_field("members"),  # packed ids; empty for a single detection
    Field("transaction", "INT64"),  # number of the add
)
_READ_FIELDS = tuple(field.name for field in _FIELDS if field.name != "transaction")


class TrackletTable(Table):
    """The collection of tracklets; see `Table` for the arguments.

    It holds every detection, also those that are tracklets of their own.
    """

    def open_for(self, width: int) -> None:
        """Create or load the collection."""
        self.open([*_FIELDS, Field("embedding", "FLOAT_VECTOR", {"dim": width})])

    def add_singles(
        self, detections: Iterable[StoredDetection], transaction: int | None = None
    ) -> None:
        """Insert tracklets of one detection, in place of others with the same ids.

        Args:
            detections: the detections.
            transaction: number of the add.
        """
        singles = [_make_single(one) for one in detections]
        self.write(singles, [[one.tracklet_id] for one in singles], transaction)

    def write(
        self,
        tracklets: Sequence[Tracklet],
        members: Sequence[Sequence[int]],
        transaction: int | None = None,
    ) -> None:
        """Insert tracklets, in place of others with the same ids."""
        rows = [
            _to_row(self.address, one, ids, transaction)
            for one, ids in zip(tracklets, members, strict=True)
        ]
        size = max(1, _REQUEST_BYTES // max(1, rows[0]["embedding"].nbytes)) if rows else 1
        for start in range(0, len(rows), size):
            self.upsert(rows[start : start + size])

    def delete_ids(self, ids: Collection[int]) -> None:
        """Delete tracklets."""
        chosen = sorted(ids)
        for start in range(0, len(chosen), _PAGE_ROWS):
            self.delete(f"id in {chosen[start : start + _PAGE_ROWS]}")

    def read(
        self, ids: Sequence[int], *, embeddings: bool = False
    ) -> dict[int, tuple[Tracklet, list[int]]]:
        """Return the stored ones of these tracklets and their members by id."""
        fields = (*_READ_FIELDS, "embedding") if embeddings else _READ_FIELDS
        found = {}
        for start in range(0, len(ids), _PAGE_ROWS):
            chosen = list(ids[start : start + _PAGE_ROWS])
            for row in self.query(f"id in {chosen}", fields):
                found[row["id"]] = _to_tracklet(row)
        return found

    def scan_all(
        self, condition: str = "", fields: Sequence[str] = _READ_FIELDS
    ) -> list[dict[str, Any]]:
        """Return the rows of a condition in the order of ids."""
        rows: list[dict] = []
        after = 0
        while page := self.scan("id", after, _LIST_ROWS, fields, condition):
            rows += page
            after = page[-1]["id"]
        return rows

    def list_of(self, source: str) -> dict[int, list[int]]:
        """Return the members of each tracklet of a source by id."""
        rows = self.scan_all(f"source_key == {make_key(source)}", ("id", "members"))
        return {row["id"]: _unpack(row["id"], row["members"]) for row in rows}


def to_record(row: dict[str, Any]) -> Tracklet:
    """Return the tracklet of a row."""
    return _to_tracklet(row)[0]


def _make_single(one: StoredDetection) -> Tracklet:
    return Tracklet(
        *(one.detection_id, one.source, one.camera, one.time, one.time, one.frame, one.frame),
        *(1, one.detection_id, 1.0, one.embedding, one.score, one.detection_id),
    )


def _to_row(
    address: str, one: Tracklet, members: Sequence[int], transaction: int | None
) -> dict[str, Any]:
    packed = _pack(members)
    if len(packed) > MAX_TEXT:
        raise InputError(
            f"{address}: sighting {one.tracklet_id} of {len(members)} detections is too long for "
            "Milvus; expected fewer frames a second"
        )
    names = "chain", "camera", "first", "last", "first_frame", "last_frame", "best", "score"
    return {
        "id": one.tracklet_id,
        "source": one.source,
        "source_key": make_key(one.source),
        "camera_key": None if one.camera is None else make_key(one.camera),
        "detections": len(members),
        "purity": float(one.purity),
        "members": packed,
        "transaction": transaction or 0,
        "embedding": np.asarray(one.embedding, np.float32),
        **{name: getattr(one, name) for name in names},
    }


def _to_tracklet(row: dict[str, Any]) -> tuple[Tracklet, list[int]]:
    embedding = np.array(row["embedding"], "<f4") if "embedding" in row else None
    names = "camera", "first", "last", "first_frame", "last_frame", "detections", "best", "purity"
    fields: dict[str, Any] = {name: row[name] for name in (*names, "source", "score", "chain")}
    tracklet = Tracklet(tracklet_id=row["id"], embedding=embedding, **fields)
    return tracklet, _unpack(row["id"], row["members"])


def _pack(ids: Sequence[int]) -> str:
    """Return ascending ids as text; a single one as nothing."""
    if len(ids) == 1:
        return ""
    steps = np.diff(np.array(sorted(ids), "<i8"), prepend=0)
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def _unpack(tracklet_id: int, text: str) -> list[int]:
    if not text:
        return [tracklet_id]
    return np.cumsum(np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8")).tolist()
