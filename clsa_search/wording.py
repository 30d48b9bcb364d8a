"""Wording of messages to the user."""

import reprlib

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 200
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 8
_REPR.maxlevel = 3


def count_noun(count: int, singular: str, plural: str | None = None) -> str:
    """Return a count with its noun, such as "1 image" or "2,816 images".

    Args:
        count: number of things.
        singular: noun for a count of 1.
        plural: noun for other counts; `singular` with an "s" by default.
    """
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def show_value(value: object) -> str:
    """Return a value as Python writes it, cut to a few hundred characters."""
    return _REPR.repr(value)


def to_printable(text: str) -> str:
    """Return a text without control characters of terminals; names of files may contain them."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
