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
    """

    def __init__(self, work: str, slots: int, waiting: int) -> None:
        self._work = work
        self._slots = threading.Semaphore(slots)
        self._places = threading.Semaphore(slots + waiting)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Wait for a slot, and hold it in the block.

        Raises:
            Busy: too many threads wait already.
        """
        if not self._places.acquire(blocking=False):
            raise Busy(f"{self._work}: too many requests wait; expected a new try in some seconds")
        try:
            with self._slots:
                yield
        finally:
            self._places.release()
