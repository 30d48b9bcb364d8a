"""The one error for faults in what the user gave: a file, a config key, a dataset, a checkpoint."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """The message names the file, the field and the value at fault, and what would be right."""


@contextmanager
def reported_input_errors() -> Iterator[None]:
    """For the body of a command: an InputError ends it with one line and exit status 2."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
