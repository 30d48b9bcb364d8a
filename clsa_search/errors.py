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
        # a loading process hands its error on with its whole traceback as the message
        message = str(error).rsplit("InputError: ", 1)[-1].strip()
        # a file's name may hold what would do something to a terminal
        message = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from error
