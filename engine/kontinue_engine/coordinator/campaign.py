"""Internal. Leadership of a group: wait for the leader Lease, lead while it is held, begin again when it is lost.

Every replica runs one. Whether the Lease may be taken is decided from the replica's own watch of Leases, so waiting
costs no request. A leader that cannot renew in time stops leading before anybody else may begin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

from kontinue import errors
from kontinue.kube.backoff import Backoff
from kontinue_engine.clock import Clock
from kontinue_engine.coordinator import group_events
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.lease import HeldLease, LeaseLost
from kontinue_engine.kube.waiting import until_set
from kontinue_engine.sharding import taking
from kontinue_engine.telemetry.logs import get_logger

LOOK_S: Final = 2.0
"""How often a holder whose process can be seen from here is looked at. Judgement; costs no request."""

_log = get_logger(__name__)


class _Fenced(Exception):  # noqa: N818 - a state, not an error
    """The Lease may soon be somebody else's."""


class Campaign:
    """One replica's part in leadership.

    Args:
        lease: of leadership.
        watch: of the group's Leases.
        clock: monotonic time.
        events: where changes of leadership are told.
        lead: the leader's duties; runs until cancelled.
    """

    def __init__(
        self,
        lease: HeldLease,
        watch: LeaseWatch,
        clock: Clock,
        events: EventRecorder,
        lead: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        self._lease = lease
        self._watch = watch
        self._clock = clock
        self._events = events
        self._lead = lead
        self._backoff = Backoff()

    async def run(self) -> None:
        """Campaign and lead until cancelled; then the Lease is given back."""
        try:
            while True:
                await self._win()
                _log.info("leading", lease=self._lease.name)
                group_events.elected(self._events, self._lease)
                await self._reign()
        finally:
            await asyncio.shield(self._lease.release())

    async def _win(self) -> None:
        news = self._watch.subscribed()
        try:
            while True:
                news.clear()
                delay_s = await self._try()
                if delay_s is None:
                    return
                await until_set(news, delay_s)
        finally:
            self._watch.unsubscribe(news)

    async def _try(self) -> float | None:
        """Take the Lease if it may be taken: None if we have it now, else the seconds until it is worth a look."""
        sighting = self._watch.book.get(self._lease.name)
        lease = sighting.lease if sighting is not None else None  # also one that was deleted while held
        silent_for_s = self._clock.monotonic_s() - sighting.changed_at_s if sighting is not None else 0.0
        match self._lease.judge(lease, silent_for_s=silent_for_s):
            case taking.Take():
                try:
                    taken = await self._lease.take(None if sighting is None or sighting.is_missing else lease)
                except errors.ApiError as error:
                    _log.warning("leadership not taken", lease=self._lease.name, error=str(error))
                    taken = False
                if taken:
                    self._backoff.reset()
                    return None
                return self._backoff.next_s()
            case taking.Wait(for_s=for_s):
                return for_s
            case taking.Refuse():
                return LOOK_S

    async def _reign(self) -> None:
        # Before Python 3.13 a TaskGroup that fails forgets that its task was canceled meanwhile: by the loss of the
        # shard's Lease, when a replica was frozen past both. So that task is another one.
        reign = asyncio.create_task(self._lead_until_lost(), name="reign")
        try:
            with self._watch.guarding(self._lease):
                await asyncio.wait([reign])
            reign.result()
        finally:
            reign.cancel()
            await asyncio.gather(reign, return_exceptions=True)

    async def _lead_until_lost(self) -> None:
        fenced = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._lease.run(on_fence=fenced.set), name="leader lease")
                tasks.create_task(_raise_when(fenced), name="leader fence")
                tasks.create_task(self._lead(), name="leader duties")
        except* (LeaseLost, _Fenced) as group:
            reason = "; ".join(str(error) for error in group.exceptions)
            _log.warning("leadership lost", lease=self._lease.name, reason=reason)
            group_events.lost(self._events, self._lease, reason)


async def _raise_when(fenced: asyncio.Event) -> None:
    await fenced.wait()
    raise _Fenced("its Lease could not be renewed in time")
