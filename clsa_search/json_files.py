"""Reading of JSON: every fault of the text is an InputError that names the file."""

import json
import os
from pathlib import Path
from typing import Any

from clsa_search.errors import InputError


def read_json(path: str | os.PathLike) -> Any:
    """Read the value in a JSON file; a byte order mark is accepted.

    Raises:
        InputError: the file cannot be read, is not JSON, or is nested too deeply.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not a readable JSON file: {error.strerror}") from error
    return parse_json(data, path)


def parse_json(text: str | bytes, name: str | os.PathLike) -> Any:
    """Parse a JSON text.

    Args:
        text: the text, or its bytes in UTF-8 (with or without a mark), UTF-16 or UTF-32.
        name: name of the text for messages.

    Raises:
        InputError: the text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except Exception as error:  # among others RecursionError and MemoryError
        raise InputError(f"{name}: not a readable JSON file: {error}") from error
