"""Command line of a program that gets hits."""

import shlex

from clsa_search.errors import InputError


def parse_hook(text: str) -> list[str]:
    """Return the words of a program's command line; no shell reads them.

    Raises:
        InputError: there is no word, or a quote is open.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(
            f"hook: {text!r}: {error}; expected a program and its arguments"
        ) from error
    if not words:
        raise InputError("hook: is empty; expected a program and its arguments")
    return words
