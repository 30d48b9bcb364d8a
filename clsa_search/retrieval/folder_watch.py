"""Watching folders: which files are settled, which failed, and when to try again.

Folders are polled: notifications of the system do not reach network drives. A file is settled if
two scans in a row find it with the same size and time of change, and if it is not the newest of
its folder, or older than `SETTLE_SECONDS`: a recorder may be pausing.
"""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

SETTLE_SECONDS = 60.0
FIRST_DELAY, LAST_DELAY = 60.0, 3600.0
"""Seconds until a failed file is tried again: doubled each time, up to the last."""

_State = tuple[int, int]  # bytes, nanoseconds


@dataclass
class _Failure:
    """A failed file.

    Args:
        state: its size and time of change.
        delay: seconds until the next try.
        due: time of the next try.
        reason: reason of the last failure.
    """

    state: _State
    delay: float
    due: float
    reason: str


@dataclass
class FolderWatch:
    """Memory between scans of some folders.

    Args:
        settle_seconds: age at which the newest file of a folder is settled.
    """

    settle_seconds: float = SETTLE_SECONDS
    _seen: dict[str, _State] = field(default_factory=dict)
    _done: dict[str, _State] = field(default_factory=dict)
    _failures: dict[str, _Failure] = field(default_factory=dict)
    _faults: set[str] = field(default_factory=set)  # of folders

    def choose(self, paths: Sequence[str], now: float | None = None) -> list[str]:
        """Return the settled files that are new, changed, or due again.

        Args:
            paths: files of this scan.
            now: present time in seconds.
        """
        now = time.time() if now is None else now
        states = _read_states(paths)
        newest = _find_newest(states)
        chosen = []
        for path, state in states.items():
            is_old = abs(now - state[1] / 1e9) >= self.settle_seconds  # clocks may differ
            is_settled = self._seen.get(path) == state and (is_old or path not in newest)
            failure = self._failures.get(path)
            is_due = failure is None or failure.state != state or now >= failure.due
            if is_settled and is_due and self._done.get(path) != state:
                chosen.append(path)
        self._seen = states
        self._done = {path: state for path, state in self._done.items() if path in states}
        self._failures = {path: one for path, one in self._failures.items() if path in states}
        return chosen

    def note(
        self, paths: Collection[str], problems: Mapping[str, str], now: float | None = None
    ) -> list[str]:
        """Remember the outcome of indexing chosen files.

        Args:
            paths: files that `choose` returned.
            problems: reasons of those that failed.
            now: present time in seconds.

        Returns:
            Reasons to report: those that are new.
        """
        now = time.time() if now is None else now
        fresh = []
        for path in paths:
            state = self._seen.get(path, (0, 0))
            reason, failure = problems.get(path), self._failures.pop(path, None)
            if reason is None:
                self._done[path] = state
                continue
            is_same = failure is not None and failure.state == state
            delay = min(2 * failure.delay, LAST_DELAY) if is_same and failure else FIRST_DELAY
            self._failures[path] = _Failure(state, delay, now + delay, reason)
            if failure is None or failure.reason != reason:
                fresh.append(reason)
        return fresh

    def note_faults(self, reasons: Collection[str]) -> list[str]:
        """Remember the faults of folders in this scan; return those that are new."""
        fresh = [reason for reason in reasons if reason not in self._faults]
        self._faults = set(reasons)
        return fresh

    @property
    def done(self) -> list[str]:
        """Indexed files that are still there."""
        return list(self._done)

    @property
    def num_failed(self) -> int:
        """Number of files that failed at their last try."""
        return len(self._failures)

    @property
    def num_waiting(self) -> int:
        """Number of files that are not indexed, or not settled."""
        return sum(self._done.get(path) != state for path, state in self._seen.items())


def _read_states(paths: Sequence[str]) -> dict[str, _State]:
    states = {}
    for path in paths:
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # gone since the scan
            continue
        states[path] = status.st_size, status.st_mtime_ns
    return states


def _find_newest(states: Mapping[str, _State]) -> set[str]:
    """Return the newest file of each folder."""
    ordered = sorted(states, key=lambda path: (os.path.dirname(path), states[path][1], path))
    return {list(group)[-1] for _, group in groupby(ordered, key=os.path.dirname)}
