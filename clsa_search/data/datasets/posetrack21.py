"""PoseTrack21 person search: frames of short videos; a query's gallery is all other frames.

Doering et al., "PoseTrack21: A Dataset for Person Search, Multi-Object Tracking and Multi-Person
Pose Tracking", CVPR 2022. The files are like COCO's; ignore regions are not used.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clsa_search.data.datasets.json_reader import (
    Section,
    is_file_name,
    is_four_numbers,
    is_integer,
    read_document,
)
from clsa_search.data.image_checks import read_image_sizes
from clsa_search.data.labeled_boxes import LabeledBoxes
from clsa_search.data.records import Split, build_records, clip_split, load_split, to_corners
from clsa_search.structures import UNLABELED

FOLDER = Path("posetrack_person_search")
SPLIT_FILES = {"train": "train.json", "gallery": "val.json"}
QUERY_FILE = "query.json"
_LARGEST_ID = 2**63


def load_posetrack21(root: Path, split: str) -> list[dict]:
    """Load the records of a split (see `load_custom_json`); the videos are the cameras.

    Images of queries missing from val.json follow the images of val.json.

    Args:
        root: folder of the dataset.
        split: "train" or "gallery".
    """
    split_file = root / FOLDER / SPLIT_FILES[split]
    query_file = root / FOLDER / QUERY_FILE if split == "gallery" else None
    sources = [split_file, *([query_file] if query_file else []), root / "images" / split_file.stem]
    build = partial(_read_split, root, split_file, query_file)
    return build_records(load_split(root, split, sources, build), root)


def _read_split(root: Path, split_file: Path, query_file: Path | None) -> Split:
    document = read_document(split_file)
    images = _read_images(document, split_file)
    ground_truth = _read_boxes(document, split_file, images)
    queries = LabeledBoxes.from_rows([])
    if query_file:
        query_document = read_document(query_file)
        for image_id, image in _read_images(query_document, query_file).items():
            images.setdefault(image_id, image)
        queries = _read_boxes(query_document, query_file, images)
    names = [name for name, _ in images.values()]
    split = Split(
        image_ids=[str(image_id) for image_id in images],
        file_names=names,
        sizes=read_image_sizes([root / name for name in names]),
        ground_truth=ground_truth,
        queries=queries,
        cam_ids=[video for _, video in images.values()],
    )
    return clip_split(split, query_file=query_file)


def _read_images(document: dict, path: Path) -> dict[int | str, tuple[str, int]]:
    """Return file name and video of each image id."""
    section = Section(document, "images", path)
    names = section.column("file_name", is_file_name, "a file's name")
    videos = section.column("vid_id", _is_number, "the number of the video")
    images = zip(names, map(int, videos), strict=True)
    return dict(zip(section.unique_ids(), images, strict=True))


def _read_boxes(
    document: dict, path: Path, images: dict[int | str, tuple[str, int]]
) -> LabeledBoxes:
    section = Section(document, "annotations", path)
    positions = {image_id: position for position, image_id in enumerate(images)}
    person_ids = section.column("person_id", _is_small, "an integer", default=UNLABELED)
    boxes = section.column("bbox", is_four_numbers, "[x, y, width, height]")
    return LabeledBoxes(
        images=section.image_positions(positions),
        boxes=to_corners(boxes),
        person_ids=np.maximum(np.array(person_ids, dtype=np.int64), UNLABELED),
    )


def _is_small(value: Any) -> bool:
    return is_integer(value) and abs(value) < _LARGEST_ID


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return re.fullmatch("[0-9]{1,18}", value) is not None
    return _is_small(value)
