"""Work dealt out to threads; what it calls must release the interpreter's lock for them to gain anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class Workers:
    """Up to `threads` jobs at a time. Not to be called from a job of its own, which would wait for itself."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "vision") if threads > 1 else None

    def map(self, work: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
        """The results in the order of the jobs; the first error of a job is raised when all have ended."""
        if self._pool is None or len(jobs) < 2:
            return [work(job) for job in jobs]
        waiting = [self._pool.submit(work, job) for job in jobs]
        errors = [error for one in waiting if (error := one.exception()) is not None]
        if errors:
            raise errors[0]
        return [one.result() for one in waiting]
