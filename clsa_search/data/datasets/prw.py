"""PRW: frames of six cameras on a campus; 2,057 queries, each with all other frames as gallery.

Zheng et al., "Person Re-identification in the Wild", CVPR 2017. In the files, unlabeled persons
have the person id -2, person ids have gaps, and the variable of the boxes has three names.
"""

import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from clsa_search.data.dataset_files import missing_files
from clsa_search.data.datasets.mat_file import load_variable
from clsa_search.data.image_checks import read_image_sizes
from clsa_search.data.labeled_boxes import LabeledBoxes
from clsa_search.data.records import Split, build_records, clip_split, load_split, to_corners
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED, Ragged
from clsa_search.wording import count_noun

FRAME_LISTS = {"train": "frame_train.mat", "gallery": "frame_test.mat"}
QUERY_FILE = "query_info.txt"
_FRAME_VARIABLES = ("img_index_train", "img_index_test")
_BOX_VARIABLES = ("box_new", "anno_file", "anno_previous")
_LARGEST = 1e9  # the comparison with it refuses NaN and infinity too


def load_prw(root: Path, split: str) -> list[dict]:
    """Load the records of a split (see `load_custom_json`).

    Args:
        root: folder of the dataset.
        split: "train" or "gallery".
    """
    sources = [root / name for name in ("annotations", "frames", FRAME_LISTS[split])]
    if split == "gallery":
        sources.append(root / QUERY_FILE)
    columns = load_split(root, split, sources, partial(_read_split, root, split))
    return build_records(columns, root / "frames")


def _read_split(root: Path, split: str) -> Split:
    frames = _read_frames(root / FRAME_LISTS[split])
    names = [f"{frame}.jpg" for frame in frames]
    sizes = read_image_sizes([root / "frames" / name for name in names])
    positions = {frame: position for position, frame in enumerate(frames)}
    queries = _read_queries(root / QUERY_FILE, positions) if split == "gallery" else []
    return clip_split(
        Split(
            image_ids=names,
            file_names=names,
            sizes=sizes,
            ground_truth=_read_ground_truth(
                [root / "annotations" / f"{name}.mat" for name in names]
            ),
            queries=LabeledBoxes.from_rows(queries),
            cam_ids=[_parse_camera(frame) for frame in frames],
        ),
        query_file=root / QUERY_FILE,
        keep_published=True,
    )


def _read_frames(path: Path) -> list[str]:
    names = []
    for number, frame in enumerate(load_variable(path, *_FRAME_VARIABLES).ravel()):
        text = np.asarray(frame).ravel()
        if len(text) != 1 or not str(text[0]).strip():
            raise InputError(f"{path}: frame {number} is {text.tolist()}; expected a name")
        names.append(str(text[0]).strip())
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{path}: frame {twice[0]!r} is listed twice; expected each frame once")
    return names


def _read_ground_truth(paths: list[Path]) -> LabeledBoxes:
    """Return the boxes of all images, one annotation file per image."""
    if missing := [path for path in paths if not path.is_file()]:
        raise missing_files(missing, len(paths))
    rows = [_read_annotations(path) for path in paths]
    ragged = Ragged.from_lengths(np.concatenate([np.empty((0, 5)), *rows]), [*map(len, rows)])
    person_ids = ragged.values[:, 0].astype(np.int64)
    return LabeledBoxes(
        images=ragged.owners,
        boxes=to_corners(ragged.values[:, 1:]),
        person_ids=np.where(person_ids < 0, UNLABELED, person_ids),
    )


def _read_annotations(path: Path) -> np.ndarray:
    """Return (n, 5) person id, x, y, width, height of the boxes with a size."""
    rows = load_variable(path, *_BOX_VARIABLES)
    if rows.size and (rows.shape[-1] != 5 or rows.dtype.kind not in "iuf"):
        kind = "number" if rows.dtype.kind in "iuf" else "value"
        raise InputError(
            f"{path}: rows of {count_noun(rows.shape[-1], kind)}; expected pid, x, y, w, h"
        )
    rows = rows.reshape(-1, 5).astype(np.float64)
    fits = (np.abs(rows) < _LARGEST).all(axis=1)
    if not fits.all():
        row = int(np.argmin(fits))
        raise InputError(f"{path}: row {row} is {rows[row].tolist()}; expected pid, x, y, w, h")
    return rows[(rows[:, 3:] > 0).all(axis=1)]


def _read_queries(
    path: Path, positions: Mapping[str, int]
) -> list[tuple[int, tuple[float, ...], int]]:
    """Return (image position, XYXY box, person id) of each query."""
    queries: list[tuple[int, tuple[float, ...], int]] = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            pid, *numbers, frame = line.split()  # split() drops a carriage return too
            x, y, w, h = map(float, numbers)
            if not all(abs(number) < _LARGEST for number in (int(pid), x, y, w, h)):
                raise ValueError
            queries.append((positions[frame.removesuffix(".jpg")], (x, y, x + w, y + h), int(pid)))
        except (ValueError, KeyError) as error:
            raise InputError(
                f"{path}: line {number} is {line!r}; expected pid x y w h and a frame of the test"
            ) from error
    return queries


def _parse_camera(frame: str) -> int:
    """Return the camera of a frame name: 1 for c1s3_016471."""
    found = re.match(r"c(\d)", frame)
    if not found:
        raise InputError(f"frame {frame!r}: expected a name that begins with a camera, as c1")
    return int(found[1])
