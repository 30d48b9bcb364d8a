"""Writing of custom JSON files."""

import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from clsa_search.atomic_io import replace_file
from clsa_search.data.datasets.custom_json import parse_split
from clsa_search.data.datasets.json_reader import is_box

CATEGORY_ID = 1
"""Id of the only category of a written file."""


def save_custom_json(
    path: str | os.PathLike,
    *,
    images: Sequence[dict],
    annotations: Sequence[dict],
    queries: Sequence[dict] = (),
    galleries: dict[str, dict] | None = None,
    info: dict | None = None,
    category: str = "person",
) -> None:
    """Check a split and write it atomically.

    All lists hold entries of the format; `category` is the name of the only category. Missing
    fields of COCO are added: ids (annotations from 1, because pycocotools takes an id of 0 for "no
    match"; queries from 0), `category_id`, `area` and `iscrowd`. NumPy numbers become plain
    numbers.

    Raises:
        InputError: an entry is not in the format; nothing is written.
    """
    path = Path(path)
    document: dict[str, Any] = {
        "info": info or {},
        "images": list(images),
        "annotations": [_complete(i, entry) for i, entry in enumerate(annotations, start=1)],
        "categories": [{"id": CATEGORY_ID, "name": category}],
    }
    if queries:
        document["queries"] = [{"id": i} | query for i, query in enumerate(queries)]
    if galleries:
        document["galleries"] = galleries
    text = json.dumps(document, default=_to_plain)
    parse_split(json.loads(text), path)
    with replace_file(path) as file:
        file.write(text.encode())


def name_file(path: PurePath, folder: PurePath) -> str:
    """Return the path of a file for a JSON file in a folder, with slashes on every system.

    The path is relative if the file is below the folder, and absolute otherwise.
    """
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _complete(annotation_id: int, annotation: dict) -> dict:
    """Add the missing fields of COCO to an annotation."""
    fields = {"id": annotation_id, "category_id": CATEGORY_ID, "iscrowd": 0} | annotation
    if is_box(box := _to_plain(fields.get("bbox"))):
        fields.setdefault("area", box[2] * box[3])
    return fields


def _to_plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
