"""Long work of the desk: one job at a time in a thread, some wait, the rest is refused."""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from clsa_search.desk.http_errors import LOG, Busy, NotFound
from clsa_search.errors import InputError
from clsa_search.retrieval.search_answers import as_text

MAX_WAITING = 8
MAX_PROBLEMS = 100  # reasons kept with a job
_MAX_ENDED = 50  # ended jobs kept
_CLOSE_SECONDS = 15.0

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Job:
    """A job in its present state.

    Args:
        id: number of the job.
        kind: kind of the work.
        state: "waiting", "running", "done", "failed" or "cancelled".
        done: number of units that are done.
        of: estimated number of units in all; None if it is not known.
        message: outcome in words, or the fault.
        problems: reasons of files that could not be taken.
    """

    id: int
    kind: str
    state: JobState = "waiting"
    done: int = 0
    of: int | None = None
    message: str = ""
    problems: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether its state stays."""
        return self.state not in ("waiting", "running")


class JobCancelled(Exception):
    """The work of a job has to end now; what it has stored stays."""


class JobReport:
    """What the work of a job tells of itself.

    Args:
        queue: queue of the job.
        job_id: number of the job.
    """

    def __init__(self, queue: "JobQueue", job_id: int) -> None:
        self._queue = queue
        self._id = job_id

    def expect(self, units: int) -> None:
        """Tell the estimated number of units of the work."""
        self._queue.change(self._id, of=units)

    def advance(self, units: int = 1) -> None:
        """Tell that more units are done.

        Raises:
            JobCancelled: the work has to end.
        """
        self._queue.change(self._id, more=units)
        self.check()

    def check(self) -> None:
        """End the work if it has to end.

        Raises:
            JobCancelled: the work has to end.
        """
        if self._queue.is_cancelled(self._id):
            raise JobCancelled

    def note_problem(self, reason: str) -> None:
        """Tell why something could not be taken; invalid characters become "?"."""
        self._queue.change(self._id, problem=as_text(reason))


Work = Callable[[JobReport], str]
"""Do the work of a job; return its outcome in words."""


class JobQueue:
    """Runs jobs in the order of adding; several threads may use it."""

    def __init__(self) -> None:
        self.is_closed = False
        self._jobs: OrderedDict[int, Job] = OrderedDict()
        self._waiting: deque[tuple[int, Work]] = deque()
        self._cancelled: set[int] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._last = 0

    def add(self, kind: str, work: Work) -> Job:
        """Add a job.

        Raises:
            Busy: too many jobs wait already.
        """
        with self._changed:
            if self.is_closed or len(self._waiting) >= MAX_WAITING:
                raise Busy("jobs: too many wait already; expected a new try when one has ended")
            self._last += 1
            job = self._jobs[self._last] = Job(self._last, kind)
            self._waiting.append((job.id, work))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            self._changed.notify()
            return job

    def list_all(self) -> list[Job]:
        """Return the jobs of this run of the desk, the newest first."""
        with self._changed:
            return list(reversed(self._jobs.values()))

    def get(self, job_id: int) -> Job:
        """Return a job.

        Raises:
            NotFound: there is none.
        """
        with self._changed:
            if job_id not in self._jobs:
                raise NotFound(f"job: there is no {job_id}; expected one of this run of the desk")
            return self._jobs[job_id]

    def count_states(self) -> Counter[str]:
        """Return the numbers of jobs by state."""
        return Counter(job.state for job in self.list_all())

    def cancel(self, job_id: int) -> Job:
        """End a job: one that waits at once, one that runs after its present step.

        Raises:
            NotFound: there is none.
        """
        with self._changed:
            job = self.get(job_id)
            if job.state == "waiting":
                self._waiting = deque(one for one in self._waiting if one[0] != job_id)
                self._end(job_id, "cancelled", "ended before it began")
            elif not job.has_ended:
                self._cancelled.add(job_id)
            return self._jobs[job_id]

    def stop(self) -> None:
        """End all jobs and take no more; it does not wait."""
        with self._changed:
            self.is_closed = True
            for job_id in [one for one, job in self._jobs.items() if not job.has_ended]:
                self.cancel(job_id)
            self._changed.notify()

    def close(self) -> None:
        """Stop, and wait some seconds for the present step of the running job."""
        self.stop()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def is_cancelled(self, job_id: int) -> bool:
        """Return whether a job has to end."""
        return job_id in self._cancelled

    def change(
        self, job_id: int, *, of: int | None = None, more: int = 0, problem: str | None = None
    ) -> None:
        """Change what a job tells of itself, see :class:`JobReport`."""
        with self._changed:
            job = self._jobs[job_id]
            problems = job.problems
            if problem is not None and len(problems) < MAX_PROBLEMS:
                problems += (problem,)
            total = job.of if of is None else of
            self._jobs[job_id] = replace(job, of=total, done=job.done + more, problems=problems)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self.is_closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                job_id, work = self._waiting.popleft()
                self._jobs[job_id] = replace(self._jobs[job_id], state="running")
            outcome = _do(work, JobReport(self, job_id))
            with self._changed:
                self._end(job_id, *outcome)

    def _end(self, job_id: int, state: JobState, message: str) -> None:
        self._jobs[job_id] = replace(self._jobs[job_id], state=state, message=message)
        self._cancelled.discard(job_id)
        ended = [one for one, job in self._jobs.items() if job.has_ended]
        for old in ended[: max(0, len(ended) - _MAX_ENDED)]:
            del self._jobs[old]


def _do(work: Work, report: JobReport) -> tuple[Any, str]:
    """Do a work; return the state of its job and the outcome in words."""
    try:
        return "done", work(report)
    except JobCancelled:
        return "cancelled", "ended early; what is stored stays, the same job continues"
    except InputError as error:
        return "failed", str(error)
    except Exception:  # a fault of the program must not end the thread of all jobs
        LOG.exception("a job failed")
        return "failed", "a fault of the program; the log of the desk tells more"
