"""Checks of the image files of a dataset, with one message for all faults of a kind."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from clsa_search.data.dataset_files import missing_file
from clsa_search.data.image_io import THREADS, read_image, read_image_size
from clsa_search.errors import InputError
from clsa_search.wording import count_noun

_SHOWN = 3  # members of a group named in a message
_UNREADABLE = "cannot be read"  # kind of a fault
_MAX_UNREADABLE = 100  # unreadable images with a message of their own
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


def find_image_faults(
    records: Sequence[dict], *, fast: bool = False, on_image: Callable[[], object] = lambda: None
) -> list[str]:
    """Return a message for each kind of fault: missing images, and wrong sizes.

    Each unreadable image has a message of its own, up to a hundred.

    Args:
        records: records of a dataset.
        fast: read headers only, which overlooks cut and damaged files.
        on_image: called after each image.
    """
    faults = _map(partial(_find_fault, fast=fast), records, on_image)
    return _group(faults, max_unreadable=_MAX_UNREADABLE)


def _find_fault(record: dict, fast: bool) -> ImageFault | None:
    path, expected = record["file_name"], (record["width"], record["height"])
    size = _read_size(path, fast)
    if isinstance(size, ImageFault):
        return size
    if size == expected:
        return None
    sizes = [f"{width} x {height}" for width, height in (size, expected)]
    message = f"{path}: {sizes[0]} pixels as viewed; expected {sizes[1]}"
    return ImageFault("have another size than in the dataset", message, message)


def _read_size(path: _Path, fast: bool = True) -> tuple[int, int] | ImageFault:
    """Return the size of an image, from the header alone or after decoding all of it."""
    if missing := _find_missing(path):
        return missing
    try:
        if fast:
            return read_image_size(path)
        height, width = read_image(path).shape[:2]
        return width, height
    except InputError as error:
        return ImageFault(_UNREADABLE, str(error), str(error))


def _find_missing(path: _Path) -> ImageFault | None:
    if os.path.exists(path):
        return None
    kind = "are missing (--image-root names another folder of a JSON file's images)"
    return ImageFault(kind, str(missing_file(path)), str(path))


def _group(faults: Sequence[ImageFault | None], max_unreadable: int = 1) -> list[str]:
    """Return one message per kind of fault, in the order of the kinds' first faults.

    Args:
        faults: fault of each image, None for none.
        max_unreadable: up to so many unreadable images have a message each.
    """
    groups: dict[str, list[ImageFault]] = {}
    for fault in faults:
        if fault is not None:
            groups.setdefault(fault.kind, []).append(fault)
    messages: list[str] = []
    for kind, group in groups.items():
        if len(group) <= (max_unreadable if kind == _UNREADABLE else 1):
            messages += [fault.message for fault in group]
        else:
            messages.append(_join(group, len(faults)))
    return messages


def _join(faults: Sequence[ImageFault], total: int) -> str:
    members = [fault.member for fault in faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        members.append(f"and {len(faults) - _SHOWN:,} more")
    return f"{len(faults):,} of {count_noun(total, 'image')} {faults[0].kind}: {', '.join(members)}"


def _map(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    on_item: Callable[[], object] = lambda: None,
) -> list[_Result]:
    results = []
    with ThreadPoolExecutor(THREADS) as pool:
        for result in pool.map(function, items):
            results.append(result)
            on_item()
    return results
