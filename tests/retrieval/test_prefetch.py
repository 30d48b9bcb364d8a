"""Prefetching: order, number of threads, distance, errors, early end."""

import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from clsa_search.retrieval.prefetch import prefetch


def test_results_have_the_order_of_the_tasks():
    def work(number):
        time.sleep(0.01 * (number % 3 == 0))
        return number

    tasks = (partial(work, number) for number in range(30))
    assert list(prefetch(tasks, count=4, threads=3)) == list(range(30))
    assert list(prefetch(iter([]), count=1, threads=1)) == []


def test_the_given_number_of_threads_works_at_a_time():
    together = threading.Barrier(3)
    tasks = iter([partial(together.wait, 10)] * 6)
    assert sorted(prefetch(tasks, count=6, threads=3)) == [0, 0, 1, 1, 2, 2]


def test_no_more_than_count_results_are_computed_in_advance():
    done = []
    tasks = (partial(done.append, number) for number in range(50))
    results = prefetch(tasks, count=3, threads=2)
    for taken in range(1, 10):
        next(results)
        time.sleep(0.02)
        assert taken <= len(done) <= taken + 3 + 1  # and one more that waits for its turn
    results.close()
    assert len(done) < 20


def test_errors_are_raised_in_order():
    def fail():
        raise ValueError("of a task")

    def make_tasks():
        yield partial(int, 1)
        yield partial(int, 2)
        raise ValueError("of the iterator")

    for tasks, message in (
        (iter([partial(int, 1), partial(int, 2), fail, partial(int, 3)]), "of a task"),
        (make_tasks(), "of the iterator"),
    ):
        results = prefetch(tasks, count=8, threads=2)
        assert [next(results), next(results)] == [1, 2]
        with pytest.raises(ValueError, match=message):
            next(results)


def test_closing_ends_all_threads():
    before = set(threading.enumerate())  # some of other tests may end meanwhile
    started = []
    tasks = (partial(started.append, number) for number in range(10**9))
    results = prefetch(tasks, count=2, threads=2)
    next(results)
    results.close()
    count = len(started)
    deadline = time.monotonic() + 10
    while not before.issuperset(threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert before.issuperset(threading.enumerate())
    assert len(started) <= count + 2


def test_a_task_that_hangs_does_not_keep_the_program_from_ending():
    program = (
        "import time\n"
        "from clsa_search.retrieval.prefetch import prefetch\n"
        "results = prefetch(iter([lambda: 1, lambda: time.sleep(600)]), count=2, threads=2)\n"
        "print(next(results))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, b"1\n")
