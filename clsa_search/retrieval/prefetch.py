"""Tasks in threads, ahead of the requests for their results."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TypeVar

_T = TypeVar("_T")
_Item = TypeVar("_Item")


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


def work_ahead(
    function: Callable[[_Item], _T], items: Iterable[_Item], *, count: int
) -> Generator[_T, None, None]:
    """Yield the results of a function, in order, while one thread computes the next ones.

    At its end it waits for the call that runs, because a GPU should not work for a program that
    ends.

    Args:
        function: function of an item, called in the thread.
        items: read here, `count` items in advance.
        count: number of results in advance; 0 computes each when it is requested, without a thread.

    Raises:
        Exception: a call raised it; the results before it are yielded first.
    """
    if not count:
        yield from map(function, items)
        return
    waiting: deque[Future[_T]] = deque()
    pool = ThreadPoolExecutor(1)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
