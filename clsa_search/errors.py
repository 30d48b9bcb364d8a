"""Errors: the one for wrong input, and the end of a command on an error."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from clsa_search.wording import to_printable

INTERRUPTED = 128 + signal.SIGINT
"""Exit status of a command after Ctrl+C."""

OUTPUT_CLOSED = 128 + 13
"""Exit status of a command that wrote to a closed pipe, as `head` leaves it; 13 is SIGPIPE."""


class InputError(ValueError):
    """A fault of the input. The message names file, field and value, and the expected value."""


def missing_gallery(address: object) -> InputError:
    """Return the error for a gallery that does not exist."""
    return InputError(f"{address}: there is no gallery; make it with `clsa-search index`")


@contextmanager
def reported_input_errors() -> Iterator[None]:
    """End the command with one line and an exit status; use it around the whole `main`.

    The status is 2 after an InputError and after an error of the system, such as a full disk. It
    is 130 after Ctrl+C. A closed pipe, as in `... | head`, ends the command without a word.
    """
    try:
        try:
            yield
        finally:
            print(end="", flush=True)  # here, because the interpreter's own flush reports less
    except InputError as error:
        # the message of a data-loading process contains its traceback
        _stop(2, f"error: {str(error).rsplit('InputError: ', 1)[-1].strip()}", error)
    except BrokenPipeError as error:
        _stop(OUTPUT_CLOSED, None, error)
    except OSError as error:
        _stop(2, f"error: {describe_system_error(error)}", error)
    except MemoryError as error:
        _stop(2, f"error: out of memory: {error}", error)
    except KeyboardInterrupt as error:
        _stop(INTERRUPTED, "interrupted", error)


def describe_system_error(error: OSError) -> str:
    """Return a message with the path and the reason of an error of the system."""
    # the message of a data-loading process contains its traceback
    reason = error.strerror or str(error).strip().rsplit("\n", 1)[-1]
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    return (
        f"{place}{': ' if place else ''}{reason}; expected readable files and a writable place on "
        "a disk with free space: complete files are kept"
    )


def _stop(status: int, message: str | None, error: BaseException) -> None:
    """Print one line and exit."""
    try:
        print(end="", flush=True)
    except OSError:  # the interpreter would flush once more, and report it
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if message:
        print(to_printable(message), file=sys.stderr)
    raise SystemExit(status) from error
