"""A command ends with one line and an exit status, whatever stops it."""

import errno
import subprocess
import sys

import pytest

from clsa_search.errors import InputError, reported_input_errors


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("bad\x1b[31m\nname-ü.jpg: is wrong"), 2, r"bad\x1b[31m\nname-ü.jpg: is wrong"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b.pth"), 2, "a/b.pth: No space left"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "complete files are kept"),
        (OSError("Caught OSError in process 0.\nOSError: disk"), 2, "OSError: disk; expected"),
        (PermissionError(errno.EACCES, "Permission denied", b"x"), 2, "x: Permission denied"),
        (MemoryError("Unable to allocate 9 TiB"), 2, "out of memory: Unable to allocate 9 TiB"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_error_is_one_line_without_control_characters(capsys, error, status, line):
    with pytest.raises(SystemExit) as stop, reported_input_errors():
        raise error
    assert stop.value.code == status
    printed = capsys.readouterr().err
    assert line in printed and printed.count("\n") == 1 and printed.endswith("\n")


@pytest.mark.parametrize("error", [KeyError("a bug"), SystemExit(1)])
def test_bugs_and_other_exits_pass(error):
    with pytest.raises(type(error)), reported_input_errors():
        raise error


PRINT = """
from clsa_search.errors import reported_input_errors

@reported_input_errors()
def main(lines):
    for i in range(lines):
        print("line", i)

main({lines})
"""


@pytest.mark.parametrize("lines", [1, 100_000])  # written at the end; in the middle
@pytest.mark.parametrize("unbuffered", [[], ["-u"]])
def test_a_closed_pipe_ends_quietly(lines, unbuffered):
    command = [sys.executable, *unbuffered, "-c", PRINT.format(lines=lines)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


def test_a_full_output_is_one_line():
    command = [sys.executable, "-c", PRINT.format(lines=1)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: No space left on device; expected")
