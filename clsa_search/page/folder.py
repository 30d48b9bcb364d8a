"""The private folder of the pictures that visitors uploaded and were shown."""

import os


def holds(folder: str, path: str) -> bool:
    """Whether a path leads into the folder, links and all."""
    try:
        place = os.path.realpath(path)
    except ValueError:  # no system would have such a path
        return False
    return place.startswith(os.path.realpath(folder) + os.sep)
