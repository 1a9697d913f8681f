"""Internal. Daemon threads that are reused: a new one costs 50-100 us, waking an idle one about 10.

Not concurrent.futures: its threads are joined at exit, so a step that never returns would keep the process; and it
wakes a thread for each job. Here one thread at a time is on its way: it calls the next one before it runs its job, if
more are queued. So a job never waits for another that blocks, and a burst of short ones is run by whoever is awake.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from kontinue_engine.runner import breakdown

_MAX_IDLE: Final = 32
"""Judgement: as many as start at once in a usual fan-out; each idle one costs about 20 KiB."""
_numbers = itertools.count(1)

Job = Callable[[], object]


class Threads:
    """Runs jobs, each beside all others, in threads that it keeps."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._idle: list[threading.Lock] = []
        self._is_one_coming = False

    def start(self, job: Job) -> None:
        """Run ``job`` in a thread; never blocks on other jobs."""
        self._jobs.append(job)
        self._call_one()

    def _call_one(self) -> None:
        """Have a thread come for a job, unless one is coming: it calls the next."""
        with self._lock:
            if self._is_one_coming:
                return
            self._is_one_coming = True
            call = self._idle.pop() if self._idle else None
        if call is not None:
            call.release()
            return
        try:
            threading.Thread(target=self._serve, name=f"kontinue-{next(_numbers)}", daemon=True).start()
        except RuntimeError:  # the system has no more: whoever gets free runs the job
            self._is_one_coming = False
            raise

    def _serve(self) -> None:
        call = threading.Lock()
        call.acquire()
        while True:
            with self._lock:
                self._is_one_coming = False
            self._run_jobs()
            with self._lock:
                if len(self._idle) >= _MAX_IDLE:
                    return
                self._idle.append(call)
            call.acquire()

    def _run_jobs(self) -> None:
        # The last job is left to who is coming for it: to call a thread for nothing costs more than a job.
        while len(self._jobs) > (1 if self._is_one_coming else 0):
            try:
                job = self._jobs.popleft()
            except IndexError:  # another thread was faster
                return
            if self._jobs:
                self._call_one()
            try:
                job()
            except BaseException:  # noqa: BLE001 - user code's are caught in the job: this is a bug of ours
                breakdown.end_process()
            del job
