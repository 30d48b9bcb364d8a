"""Checks of the arguments of public functions: a wrong type is named before it is used."""

import os
from collections.abc import Sequence

from clsa_search.errors import InputError


def check_type(name: str, value: object, types: type | tuple[type, ...], expected: str) -> None:
    """Check the type of an argument.

    Args:
        name: name of the argument.
        value: its value.
        types: accepted types.
        expected: words for the accepted types.

    Raises:
        InputError: the value is of another type.
    """
    if not isinstance(value, types):
        raise InputError(f"{name}: is of type {type(value).__name__}; expected {expected}")


def check_path(name: str, path: object) -> str:
    """Return an argument that is a path or an address as a text.

    Raises:
        InputError: it is neither a text nor a path, or holds a null character.
    """
    check_type(name, path, (str, os.PathLike), "a path")
    text = os.fspath(path)  # type: ignore[call-overload]
    check_type(name, text, str, "a path as text")
    if "\0" in text:
        raise InputError(f"{name}: {text!r} has a null character; expected a path")
    return text


def resolve_path(path: str | os.PathLike) -> str:
    """Return the absolute path without links.

    Raises:
        InputError: the text cannot be the name of a file.
    """
    try:
        return os.path.realpath(path)
    except ValueError as error:  # a null character, or half of a character
        raise InputError(f"{str(path)!r}: {error}; expected the path of a file") from error


def check_texts(name: str, texts: object) -> None:
    """Check that an argument is a sequence of texts.

    Raises:
        InputError: it is one text, no sequence, or holds something else.
    """
    is_list = isinstance(texts, Sequence) and not isinstance(texts, str | bytes)
    if not is_list or not all(isinstance(text, str) for text in texts):  # type: ignore[attr-defined]
        raise InputError(f"{name}: {texts!r}; expected a list of texts")
