"""Work that is done before its results are asked for."""

import queue
import threading
from collections.abc import Callable, Iterator
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TypeVar

_T = TypeVar("_T")


def prefetch(tasks: Iterator[Callable[[], _T]], *, count: int, threads: int) -> Iterator[_T]:
    """What the tasks give, in their order.

    Args:
        tasks: run by several threads. What has to be done one after the other, such as decoding a
            video, belongs in this iterator itself: one further thread goes through it.
        count: how many results may wait to be taken, beside the next one.
        threads: how many tasks run at a time.

    Raises:
        Whatever a task, or their iterator, raises, when its turn has come.
    """
    ready: queue.Queue[AsyncResult | BaseException | None] = queue.Queue(count)
    is_over = threading.Event()
    # its threads are daemons: one that waits for a dead disk does not keep the program from ending
    pool = ThreadPool(threads)

    def put(entry: AsyncResult | BaseException | None) -> None:
        while not is_over.is_set():
            try:
                return ready.put(entry, timeout=0.1)
            except queue.Full:
                continue

    def submit_all() -> None:
        try:
            for task in tasks:
                put(pool.apply_async(task))
                if is_over.is_set():
                    return
            put(None)
        except BaseException as error:  # belongs to whoever takes the results
            put(error)

    submitting = threading.Thread(target=submit_all, daemon=True)
    submitting.start()
    try:
        while (entry := ready.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry.get()
    finally:
        is_over.set()
        submitting.join(5)  # it may wait for a disk for longer
        pool.terminate()
