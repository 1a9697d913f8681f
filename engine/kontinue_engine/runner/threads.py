"""Internal. Daemon threads that are reused: a new one costs 50-100 us, handing a job to an idle one a few.

Not concurrent.futures: its threads are joined at exit, so a step that never returns would keep the process.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from typing import Final

_MAX_IDLE: Final = 32
"""Judgement: as many as start at once in a usual fan-out; each idle one costs about 20 KiB."""
_log = logging.getLogger(__name__)
_numbers = itertools.count(1)


class _Worker:
    __slots__ = ("has_job", "job")

    def __init__(self, job: Callable[[], None]) -> None:
        self.job: Callable[[], None] | None = job
        self.has_job = threading.Lock()
        self.has_job.acquire()


class Threads:
    """Runs jobs, each in a thread of its own until it returns."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []

    def start(self, job: Callable[[], None]) -> None:
        """Run ``job`` in a thread; never blocks on other jobs."""
        try:
            worker = self._idle.pop()
        except IndexError:
            thread = threading.Thread(
                target=self._serve, args=(_Worker(job),), name=f"kontinue-{next(_numbers)}", daemon=True
            )
            thread.start()
        else:
            worker.job = job
            worker.has_job.release()

    def _serve(self, worker: _Worker) -> None:
        while True:
            job, worker.job = worker.job, None
            try:
                if job is not None:
                    job()
            except BaseException:  # noqa: BLE001 - the thread must serve the next job
                _log.exception("a job of the runner raised: this is a bug in kontinue")
            del job
            if len(self._idle) >= _MAX_IDLE:
                return
            self._idle.append(worker)
            worker.has_job.acquire()
