"""Prefetching: order, number of threads, distance, errors, early end."""

import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from clsa_search.retrieval.prefetch import prefetch, work_ahead


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


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_thread_works_ahead_in_order(count):
    threads, done = set(), []

    def work(number):
        threads.add(threading.current_thread())
        done.append(number)
        return -number

    results = work_ahead(work, range(20), count=count)
    for taken in range(10):
        assert next(results) == -taken
        assert taken + 1 <= len(done) <= taken + 1 + count
    results.close()
    assert done == list(range(len(done))) and len(threads) == 1
    assert (threading.current_thread() in threads) == (count == 0)
    assert list(work_ahead(work, [], count=count)) == []
    assert list(work_ahead(work, [5], count=count)) == [-5]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_error_of_work_comes_after_the_results_before_it(count):
    results = work_ahead(lambda x: 1 // x, [1, 1, 0, 1], count=count)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_the_next_work_is_done_while_a_result_is_used():
    started = threading.Event()
    results = work_ahead(lambda x: started.set() if x else None, [0, 1, 0], count=1)
    next(results)
    assert started.wait(10)
    results.close()
