"""Rows deleted by another process between two reads of an engine without transactions."""

from collections.abc import Callable
from typing import TypeVar

from clsa_search.errors import InputError

T = TypeVar("T")
_TRIES = 10


class MissingRow(InputError):
    """A detection or a sighting is not stored, or not any more."""


def repeat_read(read: Callable[[], T]) -> T:
    """Read in several steps; begin again if a row is gone in between.

    Raises:
        MissingRow: a row is missing each time.
    """
    for _ in range(_TRIES - 1):
        try:
            return read()
        except MissingRow:
            continue
    return read()
