"""Checks of files and choices in requests; a browser may send anything."""

import os
from collections.abc import Sequence
from typing import Any

import gradio as gr

from clsa_search.errors import InputError
from clsa_search.page.folder import contains


def find_upload(folder: str, file: dict, name: str) -> str:
    """Return the path of an uploaded file inside the folder.

    Gradio checks only files marked as uploads.

    Args:
        folder: folder of uploads.
        file: description of the file from the request.
        name: name of the file for messages.

    Raises:
        InputError: the folder has no such file.
    """
    path = file.get("path")
    if isinstance(path, str) and contains(folder, path) and os.path.isfile(path):
        return path
    raise InputError(f"{name}: is not there; expected a recently uploaded image")


def read_index(event: gr.EventData) -> Any:
    """Return which item or point was clicked.

    Raises:
        InputError: the request does not tell it.
    """
    try:
        return event.index
    except Exception as error:  # the data of the event may be anything
        raise InputError("choice: is missing; expected a click on one of the items") from error


def pick(items: Sequence[Any], index: object) -> Any:
    """Return one of the shown items.

    Raises:
        InputError: the index is not one of theirs.
    """
    if not isinstance(index, int) or not 0 <= index < len(items):
        raise InputError("choice: is not there any more; expected one of the shown items")
    return items[index]


def as_point(index: Any) -> tuple[float, float]:
    """Return the clicked point of an image.

    Raises:
        InputError: the request holds no point.
    """
    try:
        x, y = map(float, index)
    except (TypeError, ValueError) as error:
        raise InputError("choice: is not a point; expected a click on the image") from error
    return x, y
