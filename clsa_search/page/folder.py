"""The private folder of uploaded and shown images."""

import os
from contextlib import suppress


def contains(folder: str, path: str) -> bool:
    """Return whether a path leads into the folder, with all links resolved."""
    try:
        target = os.path.realpath(path)
    except ValueError:  # not a valid path on any system
        return False
    return target.startswith(os.path.realpath(folder) + os.sep)


def measure(folder: str) -> int:
    """Return the bytes of all files in the folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # deleted since the folder was listed
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
