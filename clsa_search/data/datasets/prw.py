"""PRW: frames of six cameras on a campus; 2,057 searches in all other frames.

Zheng et al., "Person Re-identification in the Wild", CVPR 2017. Its unlabeled people have the
identity -2, its numbers have gaps, and the variable of its annotations has three names.
"""

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clsa_search.data.datasets.mat_file import load_variable
from clsa_search.data.image_io import read_image_sizes
from clsa_search.data.records import Columns, People, build_records, fill_columns, load_columns
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED

FRAME_LISTS = {  # file and variable
    "train": ("frame_train.mat", "img_index_train"),
    "test": ("frame_test.mat", "img_index_test"),
}
QUERY_FILE = "query_info.txt"
_BOX_VARIABLES = ("box_new", "anno_file", "anno_previous")
_UNKNOWN = -2


class Query(NamedTuple):
    """A line of query_info.txt: pid x y w h frame."""

    person_id: int
    box: list[float]
    frame: str


def load_prw(root: Path, split: str) -> list[dict]:
    """The records of "train", or of "test" with its queries (see `load_custom_json`)."""
    sources = [root / name for name in ("annotations", "frames", FRAME_LISTS[split][0])]
    if split == "test":
        sources.append(root / QUERY_FILE)
    columns = load_columns(root, split, sources, partial(_build, root, split))
    return build_records(columns, root / "frames")


def _build(root: Path, split: str) -> Columns:
    frames = _read_frames(root, split)
    names = [f"{frame}.jpg" for frame in frames]
    positions = {frame: i for i, frame in enumerate(frames)}
    sizes = read_image_sizes([root / "frames" / name for name in names])
    people = [_read_people(root / "annotations" / f"{name}.mat") for name in names]
    images = np.repeat(np.arange(len(frames)), [len(rows) for rows in people])
    rows = np.concatenate([np.empty((0, 5)), *people])
    person_ids = rows[:, 0].astype(np.int64)
    queries = _read_queries(root / QUERY_FILE, positions) if split == "test" else []
    return fill_columns(
        People(images, rows[:, 1:], np.where(person_ids == _UNKNOWN, UNLABELED, person_ids)),
        People(
            images=np.array([positions[query.frame] for query in queries], dtype=np.int64),
            boxes=np.array([query.box for query in queries]),
            person_ids=np.array([query.person_id for query in queries], dtype=np.int64),
        ),
        sizes=sizes,
        query_file=root / QUERY_FILE,
        keep_published=True,
        image_ids=names,
        file_names=names,
        cam_ids=[_read_camera(frame) for frame in frames],
    )


def _read_frames(root: Path, split: str) -> list[str]:
    name, variable = FRAME_LISTS[split]
    frames = load_variable(root / name, variable).ravel()
    return [str(np.asarray(frame).ravel()[0]).strip() for frame in frames]


def _read_people(path: Path) -> np.ndarray:
    """(n, 5) of identity, x, y, width, height, but for those without size."""
    rows = load_variable(path, *_BOX_VARIABLES).astype(np.float64)
    if rows.size and rows.shape[-1] != 5:
        raise InputError(f"{path}: rows of {rows.shape[-1]} numbers; expected pid, x, y, w, h")
    rows = rows.reshape(-1, 5)
    return rows[(rows[:, 3:] > 0).all(axis=1)]


def _read_queries(path: Path, positions: dict[str, int]) -> list[Query]:
    queries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            person_id, *box, frame = line.split()  # and with it a carriage return
            query = Query(int(person_id), [float(v) for v in box], frame.removesuffix(".jpg"))
        except ValueError:
            query = None
        if query is None or len(query.box) != 4 or query.frame not in positions:
            raise InputError(
                f"{path}: line {number} is {line!r}; expected pid x y w h and a frame of the test"
            )
        queries.append(query)
    return queries


def _read_camera(frame: str) -> int:
    """The digit after the c: c1s3_016471 is of camera 1."""
    found = re.match(r"c(\d)", frame)
    if not found:
        raise InputError(f"{frame!r}: expected a frame's name that begins with its camera, as c1")
    return int(found[1])
