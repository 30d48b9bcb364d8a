"""What a visitor's program says of files and choices, which is not to be trusted."""

import os
from collections.abc import Sequence
from typing import Any

from clsa_search.errors import InputError
from clsa_search.page.folder import holds


def find_upload(folder: str, file: dict, name: str) -> str:
    """Path of a file that lies in the folder; Gradio checks only what says it is an upload.

    Raises:
        InputError: there is none.
    """
    path = file.get("path")
    if isinstance(path, str) and holds(folder, path) and os.path.isfile(path):
        return path
    raise InputError(f"{name}: is not there; expected a picture that was uploaded lately")


def pick(items: Sequence[Any], index: object) -> Any:
    """One of those that were shown.

    Raises:
        InputError: none is.
    """
    if not isinstance(index, int) or not 0 <= index < len(items):
        raise InputError("choice: is not there any more; expected one of those shown")
    return items[index]


def as_point(index: object) -> tuple[float, float]:
    """Where a picture was clicked.

    Raises:
        InputError: it is no point.
    """
    try:
        x, y = map(float, index)
    except (TypeError, ValueError) as error:
        raise InputError("choice: is no point; expected one of the picture") from error
    return x, y
