"""Crops of people as a dataset of their own: the records of re-identification without a detector.

A crop is a record whose only box is the whole image. So the evaluator of person search scores
re-identification too.
"""

from collections.abc import Sequence

import numpy as np
from detectron2.structures import BoxMode

from clsa_search.data.galleries import Gallery, build_gallery
from clsa_search.structures import UNLABELED

REID = "reid"
"""Protocol of crops: all of them but those of the person in the query's own camera."""


def cut_records(records: Sequence[dict]) -> list[dict]:
    """Return a record for every ground-truth box and every query of scene images.

    Args:
        records: records of a person-search dataset.

    Returns:
        Records as `load_custom_json` returns them, with `crop` (XYXY in pixels of the file) and
        `scene` (image id of the file); height and width are those of the crop. A crop is either in
        the gallery (one annotation) or a query.
    """
    crops = []
    for record in records:
        boxes = [(box["bbox"], box["person_id"], None) for box in record["annotations"]]
        boxes += [(q["bbox"], q["person_id"], q["query_id"]) for q in record.get("queries", [])]
        for number, (bbox, person_id, query_id) in enumerate(boxes):
            crops.append(_cut(record, number, bbox, person_id, query_id))
    return crops


def _cut(
    record: dict, number: int, bbox: list[float], person_id: int, query_id: int | None
) -> dict:
    height, width = (max(1, round(bbox[i + 2] - bbox[i])) for i in (1, 0))
    crop = {
        "file_name": record["file_name"],
        "image_id": f"{record['image_id']}/{number}",
        "scene": record["image_id"],
        "height": height,
        "width": width,
        "crop": bbox,
        "annotations": [],
    }
    if "cam_id" in record:
        crop["cam_id"] = record["cam_id"]
    box = {"bbox": [0.0, 0.0, float(width), float(height)], "person_id": person_id}
    if query_id is None:
        crop["annotations"].append({**box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0})
    else:
        crop["queries"] = [{**box, "query_id": query_id}]
    return crop


def reid_gallery(records: Sequence[dict]) -> Gallery:
    """Return the gallery of each query as the published tools of re-identification count.

    Crops of the query's person are left out if they come from its camera; without cameras, if they
    come from its scene. Crops of other people and of unlabeled people stay. Source: Zheng et al.,
    "Scalable Person Re-identification: A Benchmark", ICCV 2015, section 3.

    Args:
        records: records of crops.
    """
    gallery = np.array([i for i, r in enumerate(records) if r["annotations"]], dtype=np.int64)
    people = np.array([records[i]["annotations"][0]["person_id"] for i in gallery], np.int64)
    places = [_read_place(record) for record in records]
    gallery_places = np.array([places[i] for i in gallery], dtype=object)
    galleries = {}
    for position, record in enumerate(records):
        for query in record.get("queries", []):
            same_person = people == query["person_id"]
            if query["person_id"] == UNLABELED:
                same_person[:] = False
            same_place = gallery_places == places[position]
            galleries[query["query_id"]] = gallery[~(same_person & same_place)]
    return build_gallery(galleries)


def _read_place(record: dict) -> str:
    """Return the camera of a crop, or without one its scene."""
    camera = record.get("cam_id")
    return f"scene {record.get('scene', record['image_id'])}" if camera is None else f"cam {camera}"
