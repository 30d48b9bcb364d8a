"""The engine for more than one machine: a Milvus server, or milvus-lite for trials."""

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from clsa_search.errors import InputError
from clsa_search.gallery.input_checks import check_queries, check_weights, join_images
from clsa_search.gallery.milvus_ranking import rank_rows, write_condition
from clsa_search.gallery.milvus_sources import FIELDS as SOURCE_FIELDS
from clsa_search.gallery.milvus_sources import SourceTable
from clsa_search.gallery.milvus_table import (
    MAX_ROWS,
    Field,
    Table,
    connect,
    make_key,
    reported,
    text_field,
)
from clsa_search.gallery.store import GalleryStore, Per, make_matches
from clsa_search.gallery.store_records import (
    Filter,
    GalleryImage,
    IndexProgress,
    Match,
    SearchHits,
    Source,
    StoredDetection,
)
from clsa_search.structures import ImageDetections, Ragged

SCHEMA_VERSION = 2
_REQUEST_BYTES = 1 << 24  # of embeddings that are sent at a time
_READ_ROWS = 1000  # asked for at a time
_READ_LABELS = 10_000
_CAMERA_FIELDS = "detection_id", "camera"
_TRIES = 3  # of a search while detections are being deleted
_CORNERS = "x0", "y0", "x1", "y1"
_PEOPLE_FIELDS = (
    Field("detection_id", "INT64", {"is_primary": True, "auto_id": True}),
    text_field("source"),
    Field("source_key", "INT64"),
    Field("image_key", "INT64"),  # of source and frame
    Field("frame", "INT64", {"nullable": True}),
    Field("time", "DOUBLE", {"nullable": True}),
    text_field("camera", nullable=True),
    Field("camera_key", "INT64", {"nullable": True}),
    *(Field(name, "FLOAT") for name in _CORNERS),
    Field("score", "FLOAT"),
    Field("claim", "INT64"),  # number of the add
)
_ENTRY_FIELDS = "detection_id", "source", "frame", "time", "camera", *_CORNERS, "score", "embedding"


class MilvusStore(GalleryStore):
    """See `GalleryStore` and `open_store`; the server holds the embeddings and searches them.

    A gallery is two collections, GALLERY_people and GALLERY_sources. The index is FLAT and reads
    are strongly consistent: results are those of the embedded engine, similarities up to rounding.
    What differs, as a server has no transactions:

    - People can be found from the moment they are inserted, shortly before the progress of their
      source says so. What a killed or failed add has left of a source is removed by the next add
      or delete of this source.
    - Of two adds that work on one source at once, one raises IndexConflict, also without progress.
      Two that claim it within the same milliseconds may both go through.
    - Row ids are the server's. They ascend as long as adds go through one proxy, as in every
      standalone server, and are numbers of up to 63 bits.
    - k is at most 16,384. The lower row id comes first among up to so many rows of equal
      similarity; of more, the server chooses.
    - Sources, images and cameras are told apart by keys of 63 bits. Of sources with one key the
      second is refused.

    The tests run on milvus-lite, which gives no proof of a server's own: several proxies, the order
    of equal rows, limits of requests, logging in.
    """

    def __init__(
        self,
        address: str,
        *,
        weights: str | None = None,
        create: bool = False,
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Open a gallery; other arguments see `open_store`.

        Args:
            address: http://HOST:PORT/GALLERY, or with https; or milvus-lite://FILE.db, a path
                from / or from here. The environment's MILVUS_TOKEN logs in.
        """
        if create and not weights:
            raise InputError(f"{address}: weights: {weights!r}; expected the hash of those used")
        self.address = address
        self._may_add = weights is not None
        self._lock = threading.Lock()  # milvus-lite takes one writer at a time
        self._client, gallery = connect(address, create=create)
        self._people = Table(self._client, address, f"{gallery}_people")
        self._width: int | None = None
        try:
            table = Table(self._client, address, f"{gallery}_sources")
            self._sources = SourceTable(table, self._people)
            self._gallery = self._open(table, weights if create else None, about or {})
            check_weights(address, weights, self.weights)
        except BaseException:
            self.close()
            raise

    @property
    def weights(self) -> str:
        return self._gallery["weights"]

    @property
    def width(self) -> int | None:
        if self._width is None and self._people.exists():
            self._people.open()
            self._width = self._people.width()
        return self._width

    @property
    def about(self) -> dict[str, str]:
        return self._gallery["about"]

    def add(
        self, images: Sequence[GalleryImage], progress: Sequence[IndexProgress] = ()
    ) -> np.ndarray:
        if not self._may_add:
            raise InputError(f"{self.address}: was opened without weights; expected their hash")
        images = [image for image in images if np.size(image.detections.scores)]
        batch = join_images(self.address, images, self.width) if images else None
        paths = dict.fromkeys([image.source for image in images] + [one.source for one in progress])
        if not paths:
            return np.empty(0, np.int64)
        with self._lock, reported(self.address, "add"):
            if batch is not None:
                self._prepare_people(batch.values.embeddings.shape[1])
            claim = self._sources.claim(list(paths), progress)
            ids = [] if batch is None else self._insert(images, batch, claim.number)
            counts: Counter[str] = Counter()
            for image in images:
                counts[image.source] += len(image.detections)
            self._sources.commit(claim, progress, counts)
        return np.array(ids, dtype=np.int64)

    def delete(self, source: str) -> int:
        with self._lock, reported(self.address, "delete"):
            return self._sources.delete(source)

    def count(self, where: Filter | None = None) -> int:
        if self.width is None:
            return 0
        with reported(self.address, "read"):
            return self._people.count(write_condition(where))

    def sources(self) -> list[Source]:
        return self._sources.read_all()

    def search_ids(
        self,
        queries: np.ndarray | torch.Tensor,
        k: int,
        where: Filter | None = None,
        per: Per = "match",
    ) -> SearchHits:
        queries = check_queries(self.address, queries, self.width, k, per).cpu().numpy()
        if k > MAX_ROWS:
            raise InputError(
                f"{self.address}: k: {k}; expected at most {MAX_ROWS}, which is Milvus' limit"
            )
        if self.width is None or not len(queries):
            return SearchHits.empty(len(queries))
        with reported(self.address, "search"):
            condition = write_condition(where)
        return rank_rows(self._people, queries, k, condition, per_image=per == "image")

    def search(
        self,
        queries: np.ndarray | torch.Tensor,
        k: int,
        where: Filter | None = None,
        per: Per = "match",
    ) -> list[list[Match]]:
        for _ in range(_TRIES):
            hits = self.search_ids(queries, k, where, per)
            ids = np.unique(hits.ids).tolist()
            found = self._read(ids)
            if len(found) == len(ids):  # else some were deleted since
                break
        return make_matches(hits, found)

    def get(self, ids: Sequence[int] | np.ndarray) -> list[StoredDetection]:
        ids = np.asarray(ids, dtype=np.int64).tolist()
        found = self._read(ids)
        missing = [detection_id for detection_id in ids if detection_id not in found]
        if missing:
            raise InputError(
                f"{self.address}: there is no detection {missing[0]}; expected a stored one"
            )
        return [found[detection_id] for detection_id in ids]

    def scan(self, after: int = 0, limit: int = 1000) -> list[StoredDetection]:
        if self.width is None:
            return []
        return [
            _make_entry(row)
            for row in self._people.scan("detection_id", after, limit, _ENTRY_FIELDS)
        ]

    def cameras(self) -> list[str]:
        names, after = set(), 0
        while self.width is not None:
            rows = self._people.scan(
                "detection_id", after, _READ_LABELS, ("detection_id", "camera")
            )
            if not rows:
                break
            names.update(row["camera"] for row in rows)
            after = rows[-1]["detection_id"]
        return sorted(names - {None})

    def remove_leftovers(self) -> int:
        with self._lock:
            return self._sources.remove_leftovers()

    def close(self) -> None:
        self._client.close()

    def _open(self, table: Table, create_for: str | None, about: Mapping[str, str]) -> dict:
        """What is said of the gallery, new or known."""
        if create_for is None and not table.exists():
            raise InputError(
                f"{self.address}: there is no gallery; expected one, or to be asked to create it"
            )
        table.open(SOURCE_FIELDS)
        if create_for is not None and self._sources.read_about() is None:
            values = {"version": SCHEMA_VERSION, "weights": create_for, "about": dict(about)}
            self._sources.write_about(json.dumps(values))
        text = self._sources.read_about()
        if text is None:
            raise InputError(f"{self.address}: is no gallery; expected one made by this program")
        gallery = json.loads(text)
        if gallery["version"] != SCHEMA_VERSION:
            raise InputError(
                f"{self.address}: is a gallery of version {gallery['version']}; expected version "
                f"{SCHEMA_VERSION}: index again with this program, or use the program that made it"
            )
        return gallery

    def _prepare_people(self, width: int) -> None:
        if self.width is None:
            vector = Field("embedding", "FLOAT_VECTOR", {"dim": width})
            self._people.open([*_PEOPLE_FIELDS, vector])
        if self.width != width:  # another process was first
            raise InputError(
                f"{self.address}: holds embeddings of width {self.width}; "
                f"expected this, not {width}"
            )

    def _read(self, ids: Sequence[int]) -> dict[int, StoredDetection]:
        """Return the stored ones of these detections by id."""
        found = {}
        for start in range(0, 0 if self.width is None else len(ids), _READ_ROWS):
            condition = f"detection_id in {list(ids[start : start + _READ_ROWS])}"
            for row in self._people.query(condition, _ENTRY_FIELDS):
                found[row["detection_id"]] = _make_entry(row)
        return found

    def _insert(
        self, images: Sequence[GalleryImage], batch: Ragged[ImageDetections], claim: int
    ) -> list[int]:
        """Insert the detections of a batch; return their ids."""
        shared = [_label(image) | {"claim": claim} for image in images]
        boxes, scores, embeddings = vars(batch.values).values()
        columns = batch.owners.tolist(), boxes.tolist(), scores.tolist(), embeddings
        rows = [
            shared[image]
            | dict(zip(_CORNERS, box, strict=True))
            | {"score": score, "embedding": embedding}
            for image, box, score, embedding in zip(*columns, strict=True)
        ]
        size = max(1, _REQUEST_BYTES // embeddings[0].nbytes)
        pieces = [rows[start : start + size] for start in range(0, len(rows), size)]
        return [detection_id for piece in pieces for detection_id in self._people.insert(piece)]


def _label(image: GalleryImage) -> dict:
    frame = None if image.frame is None else int(image.frame)
    return {
        "source": image.source,
        "source_key": make_key(image.source),
        "image_key": make_key(f"{image.source}\0{frame}"),
        "frame": frame,
        "time": None if image.time is None else float(image.time),
        "camera": image.camera,
        "camera_key": None if image.camera is None else make_key(image.camera),
    }


def _make_entry(row: dict) -> StoredDetection:
    labels = (row[name] for name in ("detection_id", "source", "frame", "time", "camera"))
    box = tuple(row[name] for name in _CORNERS)
    return StoredDetection(*labels, box, row["score"], np.array(row["embedding"], dtype="<f4"))
