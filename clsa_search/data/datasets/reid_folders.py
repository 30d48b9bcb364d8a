"""Market-1501, MSMT17 and CUHK03 (new protocol): folders of crops, in their published layouts.

Zheng et al., ICCV 2015; Wei et al., CVPR 2018; Li et al., CVPR 2014 with the split of Zhong et al.,
CVPR 2017. File names hold person and camera.
"""

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clsa_search.data.dataset_files import missing_file
from clsa_search.data.image_checks import read_image_sizes
from clsa_search.data.labeled_boxes import LabeledBoxes
from clsa_search.data.records import Split, build_records, load_split
from clsa_search.errors import InputError

JUNK = -1
"""Person id of crops that count neither as right nor as wrong: part of a person, or two."""

_FOLDERS = {"train": "bounding_box_train", "gallery": "bounding_box_test", "query": "query"}
_NAME = re.compile(r"(-?\d{1,9})_c(\d{1,9})(?!\d)", re.ASCII)
_MSMT_LISTS = {
    "train": ("list_train.txt", "list_val.txt"),
    "gallery": ("list_gallery.txt",),
    "query": ("list_query.txt",),
}
_MSMT_FOLDERS = {"train": ("train", "mask_train_v2"), "test": ("test", "mask_test_v2")}
_MSMT_NAME = re.compile(r"\d+_\d+_(\d{1,9})(?!\d)", re.ASCII)
_ID = re.compile(r"\d{1,9}", re.ASCII)


class _Crop(NamedTuple):
    """A crop: path below the dataset, person and camera as in its name."""

    path: str
    person: int
    camera: int


def load_market_folders(root: Path, split: str) -> list[dict]:
    """Load the records of a split of Market-1501 or CUHK03, see `cut_records`.

    Args:
        root: folder with bounding_box_train, bounding_box_test and query.
        split: "train" or "gallery"; the gallery holds the queries too.

    Raises:
        InputError: a folder is missing or empty, or a name has no person and camera.
    """
    folders = [_FOLDERS[part] for part in _parts(split)]
    sources = [root / folder for folder in folders]
    read = partial(_read_market, root)
    return _load(root, split, sources, read)


def load_msmt17(root: Path, split: str) -> list[dict]:
    """Load the records of a split of MSMT17, see `cut_records`.

    Args:
        root: folder with the lists, and with train and test (V1) or mask_train_v2 and
            mask_test_v2.
        split: "train" (with the validation part, as published results do) or "gallery", which holds
            the queries too.

    Raises:
        InputError: a list or folder is missing, or a line or name is malformed.
    """
    sources = [root / name for part in _parts(split) for name in _MSMT_LISTS[part]]
    return _load(root, split, sources, partial(_read_msmt17, root))


def _parts(split: str) -> tuple[str, ...]:
    return ("train",) if split == "train" else ("gallery", "query")


def _load(root: Path, split: str, sources: list[Path], read: partial) -> list[dict]:
    columns = load_split(root, f"crops_{split}", sources, partial(_build, root, split, read))
    return build_records(columns, root)


def _build(root: Path, split: str, read: partial) -> Split:
    parts = {part: list(read(part)) for part in _parts(split)}
    crops = [crop for part in parts.values() for crop in part]
    sizes = read_image_sizes([root / crop.path for crop in crops])
    boxes = np.hstack([np.zeros_like(sizes), sizes]).astype(np.float64)
    labeled = LabeledBoxes(
        images=np.arange(len(crops)),
        boxes=boxes,
        person_ids=np.array([crop.person for crop in crops], dtype=np.int64),
    )
    searched = np.arange(len(crops)) < len(crops) - len(parts.get("query", ()))
    return Split(
        image_ids=[crop.path for crop in crops],
        file_names=[crop.path for crop in crops],
        sizes=sizes,
        ground_truth=labeled[np.flatnonzero(searched)],
        queries=labeled[np.flatnonzero(~searched)],
        cam_ids=[crop.camera for crop in crops],
    )


def _read_market(root: Path, part: str) -> Iterable[_Crop]:
    folder = root / _FOLDERS[part]
    if not folder.is_dir():
        raise missing_file(folder)
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not paths:
        raise InputError(f"{folder}: no .jpg or .png file; expected the crops of the dataset")
    for path in paths:
        name = _NAME.match(path.name)
        if name is None:
            raise InputError(
                f"{path}: the name holds no person and camera; expected a name such as "
                "0002_c1s1_000451_03.jpg"
            )
        if int(name[1]) != JUNK:
            yield _Crop(f"{folder.name}/{path.name}", int(name[1]), int(name[2]))


def _read_msmt17(root: Path, part: str) -> Iterable[_Crop]:
    choices = _MSMT_FOLDERS["train" if part == "train" else "test"]
    folder = next((name for name in choices if (root / name).is_dir()), None)
    if folder is None:
        raise missing_file(root / choices[0])
    for list_name in _MSMT_LISTS[part]:
        path = root / list_name
        if not path.is_file():
            raise missing_file(path)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            fields = line.split()
            name = _MSMT_NAME.match(fields[0].rpartition("/")[2]) if len(fields) == 2 else None
            if name is None or not _ID.fullmatch(fields[1]):
                raise InputError(
                    f"{path}: line {number} is {line!r}; expected a name and a person id, such as "
                    "0000/0000_000_01_0303morning_0008_0.jpg 0"
                )
            yield _Crop(f"{folder}/{fields[0]}", int(fields[1]), int(name[1]))
