"""Kill processes at random moments (SIGKILL), and check that nothing stored is lost.

Each subject works in a process of its own. After each kill, everything stored before has to be
there. The work is then continued, and killed again; a continued work has to end like one that
nobody killed.
"""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.fuzz.killed_works"])  # children start in milliseconds
RUNS_PER_FOLDER = 4  # kills of one work, before it may end


class Subject(NamedTuple):
    """A work that can be continued.

    Args:
        prepare: writes the input to a folder.
        work: does the work of an input folder in an output folder, or continues it.
        list_stored: lists what an output folder holds for good.
        read: reads the result of a complete output folder.
        has_begun: whether kills may begin.
    """

    prepare: Callable[[Path], None]
    work: Callable[[Path, Path], None]
    list_stored: Callable[[Path], set]
    read: Callable[[Path], Any]
    has_begun: Callable[[Path], bool] = lambda output: True


def kill_often(subject: Subject, folder: Path, kills: int, chance: random.Random) -> int:
    """Kill a work a number of times; return the number of works that were ended.

    Raises:
        AssertionError: something is lost, or a continued work ends in another way.
    """
    given, whole = folder / "given", folder / "whole"
    _join(PROCESSES.Process(target=_work_quietly, args=(subject.prepare, given)))
    seconds = _run_to_end(subject, given, whole)
    seconds = min(seconds, _run_to_end(subject, given, folder / "timed"))
    expected = subject.read(whole)
    killed = ended = 0
    while killed < kills:
        output, known = folder / f"killed_{ended}", set()
        for _ in range(RUNS_PER_FOLDER):
            process = _start(subject, given, output)
            _wait_for_begin(subject, output, process)
            process.join(chance.uniform(0, seconds))
            process.kill()
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL), f"exit status {process.exitcode}"
            if process.exitcode == 0:
                break
            killed += 1
            stored = subject.list_stored(output) if output.exists() else set()
            assert known <= stored, f"after kill {killed}: lost {sorted(known - stored)[:5]}"
            known = stored
        _run_to_end(subject, given, output)
        assert known <= subject.list_stored(output)
        assert _are_equal(subject.read(output), expected), f"after kill {killed}: another result"
        ended += 1
    return ended


def _start(subject: Subject, given: Path, output: Path) -> Any:
    process = PROCESSES.Process(target=_work_quietly, args=(subject.work, given, output))
    process.start()
    return process


def _join(process: Any) -> None:
    process.start()
    process.join()
    assert process.exitcode == 0, f"exit status {process.exitcode} without a kill"


def _work_quietly(work: Callable, *folders: Path) -> None:
    torch.set_num_threads(1)
    with open(os.devnull, "w") as sink:
        os.dup2(sink.fileno(), 1)
        work(*folders)


def _run_to_end(subject: Subject, given: Path, output: Path) -> float:
    """Return the seconds from the first moment of kills to the end."""
    process = _start(subject, given, output)
    _wait_for_begin(subject, output, process)
    start = time.monotonic()
    process.join()
    assert process.exitcode == 0, f"exit status {process.exitcode} without a kill"
    return time.monotonic() - start


def _wait_for_begin(subject: Subject, output: Path, process: Any) -> None:
    while process.is_alive() and not subject.has_begun(output):
        time.sleep(0.002)


def _are_equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_are_equal(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
