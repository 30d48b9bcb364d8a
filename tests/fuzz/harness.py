"""Trials with bad inputs: the rule, the loop and the table.

A trial may return, raise an InputError, or exit with a status of the command line. Everything else
is a failure: another error, a printed traceback, a trial without an end.
"""

import contextlib
import io
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clsa_search.errors import InputError

TRIAL_SECONDS = 60
STATUSES = (None, 0, 1, 2)
"""Exit statuses of a command: success, faults in some files, bad input."""

Trial = Callable[[random.Random], None]
Kind = Callable[[Path], AbstractContextManager[Trial]]
"""Prepare good inputs in a folder; the trials damage them, as a random generator decides."""


@dataclass
class Outcome:
    """Counts of a kind's trials, and a report of each failure."""

    accepted: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def trials(self) -> int:
        return self.accepted + self.refused + len(self.failures)


def run_trials(name: str, kind: Kind, folder: Path, seeds: Iterable[int]) -> Outcome:
    """Run a trial of a kind for each seed."""
    outcome = Outcome()
    start = time.monotonic()
    with kind(folder) as trial:
        for seed in seeds:
            chance = random.Random(f"{name} {seed}")
            if fault := _run(trial, chance, outcome):
                outcome.failures.append(f"{name}, seed {seed}: {fault}")
    outcome.seconds = time.monotonic() - start
    return outcome


def format_table(outcomes: dict[str, Outcome]) -> str:
    """Return the table of kinds in Markdown."""
    lines = [
        "| kind | trials | refused | accepted | failures | seconds |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    total = Outcome(
        sum(one.accepted for one in outcomes.values()),
        sum(one.refused for one in outcomes.values()),
        [failure for one in outcomes.values() for failure in one.failures],
        sum(one.seconds for one in outcomes.values()),
    )
    for name, one in {**outcomes, "all": total}.items():
        counts = (one.trials, one.refused, one.accepted, len(one.failures), round(one.seconds))
        lines.append(f"| {name} | " + " | ".join(f"{count:,}" for count in counts) + " |")
    return "\n".join(lines)


def _run(trial: Trial, chance: random.Random, outcome: Outcome) -> str:
    """Run one trial and count it; return a report of a failure, or ""."""
    printed = io.StringIO()
    try:
        with _limited(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            trial(chance)
        accepted = True
    except InputError as error:
        accepted = False
        if not str(error).strip():
            return "an InputError without a message"
    except SystemExit as stop:
        accepted = stop.code in (None, 0)
        if stop.code not in STATUSES:
            return f"exit status {stop.code!r}: {printed.getvalue()[-2000:]}"
    except KeyboardInterrupt:
        raise
    except BaseException:
        return traceback.format_exc()
    if "Traceback (most recent call last)" in printed.getvalue():
        return f"a printed traceback: {printed.getvalue()[-4000:]}"
    if accepted:
        outcome.accepted += 1
    else:
        outcome.refused += 1
    return ""


@contextmanager
def _limited() -> Iterator[None]:
    """Raise TimeoutError in a trial without an end."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"no end after {TRIAL_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(TRIAL_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
