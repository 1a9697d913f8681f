"""Internal. Ends sleeps, and waits for somebody that have a limit, when their time has come. A duty of the leader.

Level-based: what is due is read from ``kube.open_suspensions``, where a changed ``resumeAt`` shows too. An end is one
write with the resourceVersion that was seen, so two leaders do no harm; who waits hears of it by its own watch.
"""

from __future__ import annotations

import asyncio
from typing import Final

from kontinue import errors
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.kube import suspensions
from kontinue_engine.kube.open_suspensions import OpenSuspension, OpenSuspensions
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.telemetry.logs import get_logger

WRITERS: Final = 16
"""Ends written at a time. Judgement: thousands that end at once leave room for other requests."""
RETRY_S: Final = 1.0
"""Judgement. A conflict is usually cleared up by the watch before."""
LOOK_AGAIN_MS: Final = 60_000
"""Clocks are set and laptops sleep, so one that waits is looked at after half of its time, but not before this."""

_log = get_logger(__name__)


class WakeTimeDuty:
    """Carries out what ``spec.resumeAt`` of open Suspensions says.

    Args:
        transport: to the API server.
        namespace: of the group.
        store: open Suspensions of the group.
        clock: wall time.
    """

    def __init__(self, transport: Transport, *, namespace: str, store: OpenSuspensions, clock: Clock) -> None:
        self._transport = transport
        self._namespace = namespace
        self._store = store
        self._clock = clock
        self._queue: WorkQueue[str] = WorkQueue()

    @property
    def planned(self) -> int:
        """How many wait for their time."""
        return self._queue.delayed

    async def run(self) -> None:
        """End what is due until cancelled."""
        with self._store.following(self._plan), self._store.following_ends(lambda gone: self._queue.forget(gone.name)):
            async with asyncio.TaskGroup() as tasks:
                for number in range(WRITERS):
                    tasks.create_task(self._write(), name=f"wake times/{number}")

    def _plan(self, one: OpenSuspension) -> None:
        if one.resume_at_ms is not None:
            left_ms = one.resume_at_ms - self._clock.now_ms()
            self._queue.add_after(one.name, min(left_ms, max(left_ms // 2, LOOK_AGAIN_MS)) / 1000)

    async def _write(self) -> None:
        while True:
            name = await self._queue.get()
            try:
                await self._end_if_due(name)
            except errors.NotFound:
                pass
            except errors.ApiError as error:
                _log.warning("wait not ended", suspension=name, error=str(error), retry_in_s=RETRY_S)
                self._queue.add_after(name, RETRY_S)
            finally:
                self._queue.done(name)

    async def _end_if_due(self, name: str) -> None:
        one = self._store.get(name)
        if one is None or one.resume_at_ms is None:
            return
        now_ms = self._clock.now_ms()
        if one.resume_at_ms > now_ms:
            self._plan(one)
            return
        await suspensions.complete(self._transport, namespace=self._namespace, seen=one, now_ms=now_ms)
