"""Records of sources on Milvus: places, and the origins of detections.

Collections get no new columns: these facts stand in a record beside each source. It names the
origin of the source's detections, and those with another one by their frames and boxes: a server
may change the ids of older galleries.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from clsa_search.gallery.detection_origins import Origin
from clsa_search.gallery.store_records import GalleryImage, Source, StoredDetection

DEFAULT: Origin = "model"
ORIGIN, OTHERS = "origin", "others"
"""Fields of a record: the origin, and a list of [origin, frame, x0, y0, x1, y1]."""

Record = Mapping[str, Any]


def add_place(source: Source, record: Record) -> Source:
    """Return a source with its camera, start and tracklets."""
    tracklets = record.get("tracklets")
    return replace(
        source,
        camera=record.get("camera"),
        start=record.get("start"),
        start_from=record.get("start_from"),
        tracklets=source.detections if tracklets is None else tracklets,
        is_linked=record.get("linked", True),
    )


def find_origin(record: Record, frame: int | None, box: Sequence[float]) -> Origin:
    """Return the origin of a detection.

    Args:
        record: record of its source; empty without one.
        frame: number of the frame.
        box: XYXY as stored.
    """
    place = [frame, *box]
    others = (one[0] for one in record.get(OTHERS) or () if one[1:] == place)
    return next(others, record.get(ORIGIN) or DEFAULT)


def list_drawn_frames(record: Record) -> list[int | None]:
    """Return the numbers of the frames of a source that hold boxes drawn by hand."""
    return list(dict.fromkeys(one[1] for one in record.get(OTHERS) or () if one[0] == "hand"))


def keep_drawn(record: Record) -> dict[str, Any]:
    """Return the fields of a record after all detections but those drawn by hand were deleted."""
    return {ORIGIN: None, OTHERS: [one for one in record.get(OTHERS) or () if one[0] == "hand"]}


def add_images(record: Record, images: Sequence[GalleryImage], stored: int) -> dict[str, Any]:
    """Return the changed fields of a record for images of its source; empty without a change.

    Args:
        record: record of the source.
        images: images to be stored.
        stored: number of detections of the source before.
    """
    origin, others = record.get(ORIGIN) or DEFAULT, list(record.get(OTHERS) or ())
    if stored <= sum(one[0] == "hand" for one in others):  # the first ones of the source
        origin = next((one.origin for one in images if one.origin != "hand"), DEFAULT)
    for image in images:
        if image.origin != origin:
            frame = None if image.frame is None else int(image.frame)
            boxes = np.asarray(image.detections.boxes, "<f4").tolist()
            others += [[image.origin, frame, *box] for box in boxes]
    fields = {ORIGIN: None if origin == DEFAULT else origin, OTHERS: others}
    before = {ORIGIN: record.get(ORIGIN), OTHERS: record.get(OTHERS) or []}
    return {name: value for name, value in fields.items() if value != before[name]}


def drop_detections(record: Record, gone: Collection[StoredDetection]) -> dict[str, Any]:
    """Return the changed fields of a record for deleted detections; empty without a change."""
    places = {(one.frame, *one.box) for one in gone}
    others = record.get(OTHERS) or []
    kept = [one for one in others if tuple(one[1:]) not in places]
    return {OTHERS: kept} if len(kept) < len(others) else {}
