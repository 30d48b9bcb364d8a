"""Checks of the image files of a dataset, with one message for all faults of a kind."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from clsa_search.data.dataset_files import missing_file
from clsa_search.data.image_io import THREADS, read_image_size
from clsa_search.errors import InputError
from clsa_search.wording import count_noun

_SHOWN = 3  # members of a group named in a message
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Path = str | os.PathLike


class ImageFault(NamedTuple):
    """A fault of an image file.

    Args:
        kind: words for all faults of the kind, after a number of images.
        message: the fault of this image.
        member: the fault in a list of faults of its kind.
    """

    kind: str
    message: str
    member: str


def check_images_exist(records: Sequence[dict]) -> None:
    """Check that all image files of a dataset exist.

    Raises:
        InputError: files are missing; the message counts them.
    """
    faults = _map(_find_missing, [record["file_name"] for record in records])
    for message in _group(faults):
        raise InputError(message)


def read_image_sizes(paths: Sequence[_Path]) -> np.ndarray:
    """Return the (N, 2) int64 width and height of N images (see `read_image_size`).

    Raises:
        InputError: images are missing or unreadable; the message counts them.
    """
    sizes = _map(_read_size, paths)
    for message in _group([size if isinstance(size, ImageFault) else None for size in sizes]):
        raise InputError(message)
    return np.array(sizes, dtype=np.int64).reshape(-1, 2)


def find_image_faults(records: Sequence[dict]) -> list[str]:
    """Return a message for each kind of fault: missing and unreadable images, and wrong sizes."""
    return _group(_map(_find_fault, records))


def _find_fault(record: dict) -> ImageFault | None:
    path, expected = record["file_name"], (record["width"], record["height"])
    size = _read_size(path)
    if isinstance(size, ImageFault):
        return size
    if size == expected:
        return None
    sizes = [f"{width} x {height}" for width, height in (size, expected)]
    message = f"{path}: {sizes[0]} pixels as viewed; expected {sizes[1]}"
    return ImageFault("have another size than in the dataset", message, message)


def _read_size(path: _Path) -> tuple[int, int] | ImageFault:
    if missing := _find_missing(path):
        return missing
    try:
        return read_image_size(path)
    except InputError as error:
        return ImageFault("cannot be read", str(error), str(error))


def _find_missing(path: _Path) -> ImageFault | None:
    if os.path.exists(path):
        return None
    kind = "are missing (--image-root names another folder of a JSON file's images)"
    return ImageFault(kind, str(missing_file(path)), str(path))


def _group(faults: Sequence[ImageFault | None]) -> list[str]:
    """Return one message per kind of fault, in the order of the kinds' first faults.

    Args:
        faults: fault of each image, None for none.
    """
    groups: dict[str, list[ImageFault]] = {}
    for fault in faults:
        if fault is not None:
            groups.setdefault(fault.kind, []).append(fault)
    return [_join(group, len(faults)) for group in groups.values()]


def _join(faults: Sequence[ImageFault], total: int) -> str:
    if len(faults) == 1:
        return faults[0].message
    members = [fault.member for fault in faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        members.append(f"and {len(faults) - _SHOWN:,} more")
    return f"{len(faults):,} of {count_noun(total, 'image')} {faults[0].kind}: {', '.join(members)}"


def _map(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, items, chunksize=64))
