"""PoseTrack21 person search: frames of short videos, searched in all other frames of the split.

Doering et al., "PoseTrack21: A Dataset for Person Search, Multi-Object Tracking and Multi-Person
Pose Tracking", CVPR 2022. The files are like COCO's; regions to ignore are left alone.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clsa_search.data.datasets.json_reader import Section, is_integer, read_document
from clsa_search.data.image_io import read_image_sizes
from clsa_search.data.records import Columns, People, build_records, fill_columns, load_columns
from clsa_search.structures import UNLABELED

FOLDER = Path("posetrack_person_search")


def load_posetrack21(root: Path, split: str) -> list[dict]:
    """The records of "train", or of "val" with the queries of query.json.

    A camera (`cam_id`) is a video. An image of a query that is not in val.json comes after those
    that are. See `load_custom_json` for the records.
    """
    files = [root / FOLDER / f"{split}.json"]
    if split == "val":
        files.append(root / FOLDER / "query.json")
    sources = [*files, root / "images" / split]
    columns = load_columns(root, split, sources, partial(_build, root, *files))
    return build_records(columns, root)


def _build(root: Path, split_file: Path, query_file: Path | None = None) -> Columns:
    document = read_document(split_file)
    queries = read_document(query_file) if query_file else {"images": [], "annotations": []}
    images = _read_images(document, split_file)
    people = _read_people(document, split_file, images)
    images |= {key: v for key, v in _read_images(queries, query_file).items() if key not in images}
    searched = _read_people(queries, query_file, images)
    names, cameras = zip(*images.values(), strict=True) if images else ((), ())
    sizes = read_image_sizes([root / name for name in names])
    return fill_columns(
        people,
        searched,
        sizes=sizes,
        query_file=query_file,
        image_ids=[str(image_id) for image_id in images],
        file_names=names,
        cam_ids=cameras,
    )


def _read_images(document: dict, path: Path | None) -> dict[int | str, tuple[str, int]]:
    """File name and video of each image."""
    section = Section(document, "images", path)
    names = section.column("file_name", lambda v: isinstance(v, str) and v != "", "a file's name")
    videos = section.column("vid_id", _is_number, "the number of the video")
    rows = zip(names, map(int, videos), strict=True)
    return dict(zip(section.unique_ids(), rows, strict=True))


def _read_people(
    document: dict, path: Path | None, images: dict[int | str, tuple[str, int]]
) -> People:
    """The people of the annotations."""
    section = Section(document, "annotations", path)
    positions = {image_id: i for i, image_id in enumerate(images)}
    persons = section.column("person_id", is_integer, "an integer", default=UNLABELED)
    boxes = section.column("bbox", _is_four_numbers, "[x, y, width, height]")
    return People(
        images=np.array(section.image_positions(positions), dtype=np.int64),
        boxes=np.array(boxes, dtype=np.float64),
        person_ids=np.maximum(np.array(persons, dtype=np.int64), UNLABELED),
    )


def _is_number(value: Any) -> bool:
    return is_integer(value) or (isinstance(value, str) and value.isdecimal())


def _is_four_numbers(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(type(v) in (int, float) and abs(v) < 1e9 for v in value)
    )
