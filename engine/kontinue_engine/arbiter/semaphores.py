"""Internal. Looks after Semaphores: observes them, their Permits and holders, carries out what ``primitives`` decides.

Each permit is timed from when it was first seen unchanged, as locks are. Built by ``process``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kontinue.api.konductor.semaphores import Permit, PermitPhase, Semaphore
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.asked import AskedController
from kontinue_engine.arbiter.families import Kinds, settle_all
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.primitives import semaphores

PERMIT_EXPIRED: Final = "PermitExpired"

_KINDS: Final = Kinds(requests.SEMAPHORES, Semaphore, requests.PERMITS, Permit)


class SemaphoreController(AskedController[Semaphore, Permit]):
    """Looks after the Semaphores of a namespace, or of all; see ``FamilyController``."""

    def __init__(self, transport: Transport, *, namespace: str, events: EventRecorder, clock: Clock) -> None:
        super().__init__(transport, _KINDS, namespace=namespace, events=events, clock=clock)

    async def look_at(self, key: Key, parent: Semaphore, children: Sequence[Permit]) -> None:
        """Grant, expire and take back."""
        gone = await self.abandoned(children)
        namespace, unseen = parent.metadata.namespace, semaphores.missing(parent, children)
        absent = {one.uid for one in unseen if await self.is_absent(namespace, one.name, one.uid)}
        now = self._clock.now()
        overdue = self.overdue(key, semaphores.permit_locks(parent, children), now=now)
        plan = semaphores.decide(parent, children, gone=gone, absent=absent, overdue=overdue.marks, now=now)
        if plan.status is not None:
            await self.write(msgspec.structs.replace(parent, status=plan.status))
        ends = [self.end(parent, one, gone=gone) for one in plan.delete]
        await settle_all([*(self._inform(parent, one) for one in plan.permits), *ends])
        self.look_again(key, overdue, plan.look_again_at, now=now)

    async def _inform(self, semaphore: Semaphore, permit: Permit) -> None:
        stored = await self.write_child(permit)
        if stored is not None and stored.status.phase is PermitPhase.EXPIRED:
            name = permit.metadata.name
            message = f"{name} of {permit.spec.holder} was held for its whole ttl: its permit is free again"
            self.tell(semaphore, "Warning", PERMIT_EXPIRED, message)
