"""Tasks in threads, ahead of the requests for their results."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
    advancing, running = ThreadPoolExecutor(1), ThreadPoolExecutor(threads)

    def submit_next() -> Future[_T] | None:
        task = next(tasks, None)
        return None if task is None else running.submit(task)

    window = deque(advancing.submit(submit_next) for _ in range(count + 1))
    try:
        while (future := window.popleft().result()) is not None:
            window.append(advancing.submit(submit_next))
            yield future.result()
    finally:
        for executor in (advancing, running):
            executor.shutdown(wait=False, cancel_futures=True)
