"""The error for wrong input: a file, a config key, a dataset, a checkpoint."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A fault of the input. The message names file, field and value, and the expected value."""


@contextmanager
def reported_input_errors() -> Iterator[None]:
    """End the command with one line and exit status 2 on an InputError."""
    try:
        yield
    except InputError as error:
        # the message of a data-loading process contains its traceback
        message = str(error).rsplit("InputError: ", 1)[-1].strip()
        # names of files may contain control characters of terminals
        message = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from error
