"""Internal. Looks after Semaphores: observes them, their Permits and holders, carries out what ``primitives`` decides.

That a Permit has not been seen proves nothing, the watch of Permits may be behind that of Semaphores; so before its
grant is taken back the API server is asked. Built by ``process``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.konductor.semaphores import Grant, Permit, PermitPhase, Semaphore
from kontinue.api.meta import PartialObjectMetadata
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.caretaker import HOLDER_GONE
from kontinue_engine.arbiter.families import FamilyController, Kinds
from kontinue_engine.arbiter.holders import Holders
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.primitives import semaphores

PERMIT_EXPIRED: Final = "PermitExpired"

_KINDS: Final = Kinds(requests.SEMAPHORES, Semaphore, requests.PERMITS, Permit)
_decode_metadata: Final = reader(PartialObjectMetadata)


class SemaphoreController(FamilyController[Semaphore, Permit]):
    """Looks after the Semaphores of a namespace, or of all; see ``FamilyController``."""

    def __init__(self, transport: Transport, *, namespace: str, events: EventRecorder, clock: Clock) -> None:
        super().__init__(transport, _KINDS, namespace=namespace, events=events, clock=clock)
        self._holders = Holders(transport, namespace, self._on_holder)

    async def run(self) -> None:
        """Look after them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._holders.run(), name="holders")
            tasks.create_task(super().run(), name="semaphores")

    async def look_at(self, key: Key, parent: Semaphore, children: Sequence[Permit]) -> None:
        """Grant, expire and take back."""
        gone = {one.metadata.uid for one in children if await self._is_abandoned(one)}
        unseen = semaphores.missing(parent, children)
        absent = {one.uid for one in unseen if await self._is_absent(parent, one)}
        now = self._clock.now()
        plan = semaphores.decide(parent, children, gone=gone, absent=absent, now=now)
        if plan.status is not None:
            await self.write(msgspec.structs.replace(parent, status=plan.status))
        writes = [self._inform(parent, one) for one in plan.permits]
        writes += [self._end(parent, one, gone=gone) for one in plan.delete]
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            if outcome is not None:
                raise outcome
        if plan.look_again_at is not None:
            self._looks.again_in(key, (plan.look_again_at - now).total_seconds())

    async def _is_abandoned(self, permit: Permit) -> bool:
        bound_to = permit.spec.bound_to
        if bound_to is None or permit.is_over:
            return False
        return await self._holders.is_gone(permit.metadata.namespace, bound_to)

    async def _is_absent(self, semaphore: Semaphore, grant: Grant) -> bool:
        request = requests.get(requests.PERMITS, semaphore.metadata.namespace, grant.name)
        try:
            return _decode_metadata(await self._transport.send(request)).metadata.uid != grant.uid
        except errors.NotFound:
            return True

    async def _inform(self, semaphore: Semaphore, permit: Permit) -> None:
        stored = await self.write_child(permit)
        if stored is not None and stored.status.phase is PermitPhase.EXPIRED:
            name = permit.metadata.name
            message = f"{name} of {permit.spec.holder} was held for its whole ttl: its permit is free again"
            self.tell(semaphore, "Warning", PERMIT_EXPIRED, message)

    async def _end(self, semaphore: Semaphore, permit: Permit, *, gone: Collection[str]) -> None:
        if await self.delete_child(permit) and permit.metadata.uid in gone:
            message = f"{permit.spec.bound_to} has ended: its Permit {permit.metadata.name} is deleted"
            self.tell(semaphore, "Warning", HOLDER_GONE, message)

    def _on_holder(self, uid: str | None) -> None:
        for key, permits in self._children.groups():
            bound = (one.spec.bound_to for one in permits)
            if any(one is not None and uid in {None, one.uid} for one in bound):
                self._looks.queue.add(key)
