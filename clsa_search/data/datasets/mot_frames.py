"""The frames of a sequence: images and their frame numbers."""

import re
from collections.abc import Sequence
from pathlib import Path

from clsa_search.data.image_io import IMAGE_SUFFIXES
from clsa_search.errors import InputError


def find_frames(folder: Path, suffix: str = "") -> dict[int, Path]:
    """Return the image of each frame number, in order.

    Images are named by the frame number, and other names are passed over. If no image has a number
    as name, as frame_000000.PNG of CVAT, the frames count from 1 in the order of their names.

    Args:
        folder: folder of the images.
        suffix: suffix of the images in lower case; "" for all images.

    Raises:
        InputError: there is no image, or two images have one number.
    """
    suffixes = {suffix} if suffix else IMAGE_SUFFIXES
    images = [path for path in _list_files(folder) if path.suffix.lower() in suffixes]
    if not images:
        raise InputError(
            f"{folder}: no frames; expected *{suffix or '.jpg, *.png or other images'}"
        )
    return number_frames(images)


def number_frames(images: Sequence[Path]) -> dict[int, Path]:
    """Return the image of each frame number, in order; see :func:`find_frames`.

    Raises:
        InputError: two images have one number.
    """
    frames: dict[int, Path] = {}
    for path in images:
        if is_number(path.stem) and (other := frames.setdefault(int(path.stem), path)) != path:
            raise InputError(f"{path}: {other.name} has this number too; expected one of them")
    if frames:
        return dict(sorted(frames.items()))
    return dict(enumerate(sorted(images, key=_natural_order), start=1))


def _list_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (OSError, ValueError):  # no such folder, or a name that none can have
        return []


def is_number(text: str) -> bool:
    """Return whether a text consists of digits."""
    return re.fullmatch("[0-9]{1,18}", text) is not None


def _natural_order(path: Path) -> list[tuple[bool, int, str]]:
    """Return a sort key with numbers inside of names: image2 comes before image10."""
    parts = re.split("([0-9]{1,18})", path.name)
    return [(not is_number(part), int(part) if is_number(part) else 0, part) for part in parts]
