"""Tasks in threads, ahead of the requests for their results."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TypeVar

_T = TypeVar("_T")


def prefetch(
    tasks: Iterator[Callable[[], _T]], *, count: int, threads: int
) -> Generator[_T, None, None]:
    """Yield the results of tasks, in order, while threads compute the next ones.

    Args:
        tasks: functions without arguments. Sequential work, such as decoding a video, belongs in
            this iterator: a thread of its own advances it.
        count: maximum number of results in advance, in addition to the next one.
        threads: number of simultaneous tasks.

    Raises:
        Exception: a task, or the iterator, raised it; the results before it are yielded first.
    """
    # daemon threads: one that waits for a dead disk does not keep the program from ending
    advancing, running = ThreadPool(1), ThreadPool(threads)

    def submit_next() -> AsyncResult[_T] | None:
        task = next(tasks, None)
        return None if task is None else running.apply_async(task)

    window = deque(advancing.apply_async(submit_next) for _ in range(count + 1))
    try:
        while (result := window.popleft().get()) is not None:
            window.append(advancing.apply_async(submit_next))
            yield result.get()
    finally:
        for pool in (advancing, running):
            pool.terminate()
