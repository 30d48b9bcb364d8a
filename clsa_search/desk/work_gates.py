"""Bounds of the work at hand: so much at a time, so much waiting, the rest is refused."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from clsa_search.desk.http_errors import Busy


class Gate:
    """Lets some threads work and some wait.

    Args:
        work: name of the work for messages.
        slots: number of threads at work at a time.
        waiting: largest number of waiting threads.

    Attributes:
        num_threads: number of threads at work or waiting.
    """

    def __init__(self, work: str, slots: int, waiting: int) -> None:
        self.num_threads = 0
        self._work = work
        self._limit = slots + waiting
        self._slots = threading.Semaphore(slots)
        self._lock = threading.Lock()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Wait for a slot, and hold it in the block.

        Raises:
            Busy: too many threads wait already.
        """
        with self._lock:
            if self.num_threads >= self._limit:
                raise Busy(
                    f"{self._work}: too many requests wait; expected a new try in some seconds"
                )
            self.num_threads += 1
        try:
            with self._slots:
                yield
        finally:
            with self._lock:
                self.num_threads -= 1
