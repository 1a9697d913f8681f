"""Internal. Looks after locks of one kind: observes them and their holders, carries out what ``primitives`` decides.

Each lock is timed from when it was first seen unchanged, so clocks of machines need not agree; that of the wall ends
what nobody has watched. Built by ``process``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.locking import Grant, LockKind, Patience
from kontinue.kube.reflector import HasMetadata
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.caretaker import EXPIRED, HOLDER_GONE
from kontinue_engine.arbiter.held import HeldCaretaker
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.primitives import locks
from kontinue_engine.telemetry.logs import get_logger

T = TypeVar("T", bound=HasMetadata)

_log = get_logger(__name__)


class LockController(HeldCaretaker[T]):
    """Looks after the locks of one kind in a namespace, or in all.

    Args:
        transport: to the API server.
        resource: the kind.
        kind: where its objects keep their locks.
        namespace: where; empty for everywhere.
        events: tells people.
        clock: wall time.
    """

    def __init__(
        self,
        transport: Transport,
        resource: Resource,
        kind: LockKind[T],
        *,
        namespace: str,
        events: EventRecorder,
        clock: Clock,
    ) -> None:
        super().__init__(transport, resource, kind.object_type, namespace=namespace, events=events, clock=clock)
        self._kind = kind
        self._patience: dict[Key, Patience] = {}

    def holders_of(self, found: T) -> Iterable[Holder]:
        """Return those who hold it or wait for it, as far as they are bound."""
        stored = self._kind.locks_of(found)
        return [one.bound_to for one in (*stored.grants, *stored.waiters) if one.bound_to is not None]

    def forgotten(self, key: Key) -> None:
        """Forget since when its locks were seen."""
        self._patience.pop(key, None)

    def lasting(self, found: T, now: datetime) -> tuple[T, datetime | None]:
        """Return an object as it is to be written, and when it is to be deleted; None: never."""
        del now
        return found, None

    async def look_at(self, key: Key, found: T) -> float | None:
        """Release what has ended; a status that somebody has edited is brought in line."""
        gone, now = await self.gone(found), self._clock.now()
        stored = self._kind.locks_of(found)
        patience = self._patience.setdefault(key, Patience())
        overdue = patience.look(stored, now=now, now_s=asyncio.get_running_loop().time())
        plan = locks.decide(stored, gone=gone, overdue=overdue.marks)
        wanted, ends_at = self.lasting(self._kind.with_locks(found, plan.locks), now)
        if wanted != found:
            await self.send_status(wanted)
            self._tell(found, plan.gone, HOLDER_GONE, "its holder has ended")
            self._tell(found, plan.expired, EXPIRED, "it was not renewed in time")
            return None  # the watch shows it as it is now
        if ends_at is None:
            return overdue.next_s
        if now < ends_at:
            return (ends_at - now).total_seconds()
        await self.delete(found)
        self.tell(found, "Normal", EXPIRED, "deleted: it was Executed for its ttl")
        return None

    def _tell(self, found: T, ended: Sequence[Grant], reason: str, why: str) -> None:
        for one in ended:
            _log.info("lock released", name=found.metadata.name, holder=one.holder, token=one.token, reason=reason)
            self.tell(found, "Warning", reason, f"the lock of {one.holder}, token {one.token}, is released: {why}")
