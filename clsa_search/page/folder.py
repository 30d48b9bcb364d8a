"""The private folder of the pictures that visitors uploaded and were shown."""

import os
from contextlib import suppress


def holds(folder: str, path: str) -> bool:
    """Whether a path leads into the folder, links and all."""
    try:
        place = os.path.realpath(path)
    except ValueError:  # no system would have such a path
        return False
    return place.startswith(os.path.realpath(folder) + os.sep)


def measure(folder: str) -> int:
    """Bytes of all files in the folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # deleted meanwhile
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
