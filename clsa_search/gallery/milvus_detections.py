"""The detections of a gallery on Milvus."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from clsa_search.errors import InputError
from clsa_search.gallery.milvus_notes import NoteTable
from clsa_search.gallery.milvus_origins import find_origin, list_drawn_frames
from clsa_search.gallery.milvus_table import Field, Table, make_key, text_field
from clsa_search.gallery.milvus_tracklet_table import TrackletTable
from clsa_search.gallery.store_records import GalleryImage, StoredDetection
from clsa_search.structures import ImageDetections, Ragged

_REQUEST_BYTES = 1 << 24  # of embeddings to send at a time
_READ_ROWS = 1000  # detections to read at a time
_LIST_ROWS = 10_000  # ids to read at a time
_CORNERS = "x0", "y0", "x1", "y1"
_FIELDS = (
    Field("id", "INT64", {"is_primary": True}),  # claimed: a server's own would change
    text_field("source"),
    Field("source_key", "INT64"),
    Field("image_key", "INT64"),  # of source and frame
    Field("frame", "INT64", {"nullable": True}),
    Field("time", "DOUBLE", {"nullable": True}),
    text_field("camera", nullable=True),
    Field("camera_key", "INT64", {"nullable": True}),
    *(Field(name, "FLOAT") for name in _CORNERS),
    Field("score", "FLOAT"),
    Field("transaction", "INT64"),  # number of the add
)
_DETECTION_FIELDS = "id", "source", "frame", "time", "camera", *_CORNERS, "score", "embedding"


class DetectionTable(Table):
    """The collection of detections; see `Table` for the arguments.

    Args:
        *args: arguments of `Table`.
        notes: origins of the sources, and claims of ids.
    """

    def __init__(self, *args: Any, notes: NoteTable) -> None:
        super().__init__(*args)
        self._width: int | None = None
        self._notes = notes
        self._gives_ids = False
        client, address, name = args
        self.tracklets = TrackletTable(client, address, f"{name}_tracklets")

    @property
    def width(self) -> int | None:
        """Embedding width; None until the collection is created."""
        if self._width is None and self.exists():
            self.open()
            self.tracklets.open_for(self.vector_width())
            self._gives_ids = self.gives_ids()
            self._width = self.vector_width()
        return self._width

    @property
    def may_change_ids(self) -> bool:
        """Whether a server may give changed rows new ids, as in galleries of earlier versions."""
        return self.width is not None and self._gives_ids

    def create_for(self, width: int) -> None:
        """Create the collection if it is missing.

        Raises:
            InputError: it holds embeddings of another width.
        """
        if self.width is None:
            self.open([*_FIELDS, Field("embedding", "FLOAT_VECTOR", {"dim": width})])
        if self.width != width:  # another process was first
            raise InputError(
                f"{self.address}: holds embeddings of width {self.width}; "
                f"expected this, not {width}"
            )

    def insert_images(
        self, images: Sequence[GalleryImage], batch: Ragged[ImageDetections], transaction: int
    ) -> list[int]:
        """Insert the detections of a batch; return their ids.

        Args:
            images: images of the batch.
            batch: their detections, see `join_images`.
            transaction: number of the transaction.
        """
        shared = [_to_columns(image) | {"transaction": transaction} for image in images]
        detections = batch.values
        columns = batch.owners.tolist(), detections.boxes.tolist(), detections.scores.tolist()
        rows = [
            shared[image]
            | dict(zip(_CORNERS, box, strict=True))
            | {"score": score, "embedding": embedding}
            for image, box, score, embedding in zip(*columns, detections.embeddings, strict=True)
        ]
        if not self._gives_ids:
            first = self._notes.claim_ids(len(rows))
            rows = [row | {"id": first + i} for i, row in enumerate(rows)]
        size = max(1, _REQUEST_BYTES // detections.embeddings[0].nbytes)
        pieces = [rows[start : start + size] for start in range(0, len(rows), size)]
        ids = [detection_id for piece in pieces for detection_id in self.insert(piece)]
        added = [_to_detection(row | {"id": i}) for i, row in zip(ids, rows, strict=True)]
        self.tracklets.add_singles(added, transaction)
        return ids

    def delete(self, condition: str) -> None:
        """Delete the detections of a condition, and their tracklets, which it fits too."""
        self.tracklets.delete(condition)
        super().delete(condition)

    def delete_ids(self, ids: Collection[int]) -> None:
        """Delete detections, not their tracklets."""
        chosen = sorted(ids)
        for start in range(0, len(chosen), _READ_ROWS):
            super().delete(f"id in {chosen[start : start + _READ_ROWS]}")

    def delete_indexed(self, source: str) -> None:
        """Delete the detections of a source but those drawn by hand, which become single."""
        drawn = self.list_drawn([source])
        self.tracklets.add_singles(drawn)
        ids = [one.detection_id for one in drawn]
        self.delete(f"source_key == {make_key(source)} and id not in {ids}")

    def relink(self, source: str, path: str) -> None:
        """Give the detections of a source another path; their ids stay."""
        condition = f"source_key == {make_key(source)}"
        while rows := self.scan("id", 0, _READ_ROWS, condition=condition):
            self.upsert([row | _name_source(path, row["frame"]) for row in rows])
        self.tracklets.delete(f"source_key in {[make_key(source), make_key(path)]}")
        self._make_singles(path)

    def place(self, source: str, change: dict[str, Any]) -> bool:
        """Give the detections of a source another camera and start time; their ids stay.

        Args:
            source: path of the source.
            change: camera, start, old start, and the number that marks changed rows.

        Returns:
            Whether it is a video with detections.
        """
        camera, old, new = change["camera"], change["old"], change["start"]
        mine = f"source_key == {make_key(source)}"
        left = f"{mine} and transaction != {change['number']}"
        marks = {
            "camera": camera,
            "camera_key": None if camera is None else make_key(camera),
            "transaction": change["number"],
        }
        while rows := self.scan("id", 0, _READ_ROWS, condition=left):
            for row in rows:
                if row["frame"] is None:
                    row["time"] = new
                elif row["time"] is not None:
                    row["time"] = row["time"] - old + (new or 0.0)
            self.upsert([row | marks for row in rows])
        self.tracklets.delete(mine)
        return self._make_singles(source)

    def _make_singles(self, path: str) -> bool:
        """Make each detection of a source a tracklet; return whether there are frames."""
        condition, after, has_frames = f"source_key == {make_key(path)}", 0, False
        while rows := self.scan("id", after, _READ_ROWS, _DETECTION_FIELDS, condition):
            self.tracklets.add_singles(map(_to_detection, rows))
            has_frames |= any(row["frame"] is not None for row in rows)
            after = rows[-1]["id"]
        return has_frames

    def read(self, ids: Sequence[int]) -> dict[int, StoredDetection]:
        """Return the stored ones of these detections by id."""
        found = {}
        for start in range(0, 0 if self.width is None else len(ids), _READ_ROWS):
            condition = f"id in {list(ids[start : start + _READ_ROWS])}"
            for one in self._read_detections(self.query(condition, _DETECTION_FIELDS)):
                found[one.detection_id] = one
        return found

    def read_next(self, after: int, limit: int) -> list[StoredDetection]:
        """Return the next detections in the order of ids; see `GalleryStore.scan`."""
        return self._read_detections(self.scan("id", after, limit, _DETECTION_FIELDS))

    def list_drawn(self, paths: Sequence[str]) -> list[StoredDetection]:
        """Return the detections drawn by hand; see `GalleryStore.list_drawn`."""
        if self.width is None:
            return []
        found = []
        for path, origin in self._notes.read_origins(paths).items():
            keys = [make_image_key(path, frame) for frame in list_drawn_frames(origin)]
            rows = self.query(f"image_key in {keys}", _DETECTION_FIELDS) if keys else []
            found += [one for one in self._read_detections(rows) if one.origin == "hand"]
        return sorted(found, key=lambda one: one.detection_id)

    def _read_detections(self, rows: Sequence[Mapping[str, Any]]) -> list[StoredDetection]:
        """Return the detections of rows with their origins."""
        origins = self._notes.read_origins({row["source"] for row in rows})
        found = [_to_detection(row) for row in rows]
        return [
            replace(one, origin=find_origin(origins.get(one.source, {}), one.frame, one.box))
            for one in found
        ]

    def list_ids(self, condition: str, order_by: str, limit: int | None, offset: int) -> list[int]:
        """Return ids of detections; see `GalleryStore.list`."""
        stop = None if limit is None else offset + limit
        fields = ["id"] if order_by == "id" else ["id", order_by]
        rows: list[dict] = []
        read = partial(self.scan, "id", fields=fields, condition=condition)
        while page := read(after=rows[-1]["id"] if rows else 0, limit=_LIST_ROWS):
            rows += page
            if order_by == "id" and stop is not None and len(rows) >= stop:
                break
        if order_by == "time":  # unknown times before all; sorting keeps the order of ids
            rows.sort(key=lambda row: (row["time"] is not None, row["time"] or 0))
        elif order_by == "score":
            rows.sort(key=lambda row: -row["score"])
        return [row["id"] for row in rows[offset:stop]]

    def list_cameras(self) -> list[str]:
        """Return the sorted names of the cameras."""
        names: set[str | None] = set()
        after = 0
        while rows := self.scan("id", after, _LIST_ROWS, ("id", "camera")):
            names.update(row["camera"] for row in rows)
            after = rows[-1]["id"]
        return sorted(name for name in names if name is not None)


def _to_columns(image: GalleryImage) -> dict[str, Any]:
    frame = None if image.frame is None else int(image.frame)
    return {
        **_name_source(image.source, frame),
        "frame": frame,
        "time": None if image.time is None else float(image.time),
        "camera": image.camera,
        "camera_key": None if image.camera is None else make_key(image.camera),
    }


def _name_source(path: str, frame: int | None) -> dict[str, Any]:
    return {
        "source": path,
        "source_key": make_key(path),
        "image_key": make_image_key(path, frame),
    }


def make_image_key(path: str, frame: int | None) -> int:
    """Return a number for an image or a frame."""
    return make_key(f"{path}\0{frame}")


def _to_detection(row: Mapping[str, Any]) -> StoredDetection:
    return StoredDetection(
        detection_id=row["id"],
        source=row["source"],
        frame=row["frame"],
        time=row["time"],
        camera=row["camera"],
        box=(row["x0"], row["y0"], row["x1"], row["y1"]),
        score=row["score"],
        embedding=np.array(row["embedding"], dtype="<f4"),
    )
