"""Internal. Looks after Semaphores: observes them, their Permits and holders, carries out what ``primitives`` decides.

Level-based, as ``wait_groups``. That a Permit has not been seen proves nothing, the watch of Permits may be behind that
of Semaphores; so before its grant is taken back the API server is asked. Built by ``coordinator``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.konductor_semaphores import Grant, Permit, PermitPhase, Semaphore, SemaphoreStatus
from kontinue.api.meta import PartialObjectMetadata
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.arbiter.holders import Holders
from kontinue_engine.arbiter.looks import Key, Looks, is_newer, reference
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Informer
from kontinue_engine.primitives import semaphores

HOLDER_GONE: Final = "HolderGone"
PERMIT_EXPIRED: Final = "PermitExpired"

_decode: Final = msgspec.json.Decoder(Semaphore).decode
_decode_permit: Final = msgspec.json.Decoder(Permit).decode
_decode_metadata: Final = msgspec.json.Decoder(PartialObjectMetadata).decode


class SemaphoreController:
    """Looks after the Semaphores of a namespace, or of all.

    Args:
        transport: to the API server.
        namespace: where; empty for everywhere.
        events: tells people.
        clock: wall time.
    """

    def __init__(self, transport: Transport, *, namespace: str, events: EventRecorder, clock: Clock) -> None:
        self._transport = transport
        self._events = events
        self._clock = clock
        self._semaphores: dict[Key, Semaphore] = {}
        self._looks = Looks("semaphores", self._look_at)
        self._permits = _Permits(self._looks)
        self._holders = Holders(transport, namespace, self._permits.on_holder)
        self._informer = Informer(transport, requests.SEMAPHORES, namespace, type_=Semaphore, handler=self)
        self._permit_informer = Informer(transport, requests.PERMITS, namespace, type_=Permit, handler=self._permits)

    async def run(self) -> None:
        """Look after them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._holders.run(), name="holders")
            tasks.create_task(self._permit_informer.run(), name="permits")
            tasks.create_task(self._informer.run(), name="semaphores")
            await self._permit_informer.synced.wait()
            tasks.create_task(self._looks.run(), name="looks")

    def on_list(self, objects: Sequence[Semaphore], *, initial: bool) -> None:
        """Take all Semaphores."""
        del initial
        found = {_key(one): one for one in objects}
        for key in self._semaphores.keys() - found.keys():
            self._forget(key)
        for one in found.values():
            self._take(one)

    def on_event(self, type: EventType, obj: Semaphore) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        if type == "DELETED":
            self._forget(_key(obj))
        else:
            self._take(obj)

    def _take(self, semaphore: Semaphore) -> None:
        key = _key(semaphore)
        if is_newer(semaphore, self._semaphores.get(key)):
            self._semaphores[key] = semaphore
            self._looks.queue.add(key)

    def _forget(self, key: Key) -> None:
        self._semaphores.pop(key, None)
        self._looks.queue.forget(key)
        self._looks.queue.add(key)

    async def _look_at(self, key: Key) -> None:
        semaphore = self._semaphores.get(key)
        strays = [one for one in self._permits.of(key) if one.is_stray_of(semaphore)]
        if strays:
            await self._delete_strays(key, strays)
        if semaphore is None:
            return
        permits = [one for one in self._permits.of(key) if one.belongs_to(semaphore)]
        gone = {one.metadata.uid for one in permits if await self._is_abandoned(one)}
        absent = {one.uid for one in semaphores.missing(semaphore, permits) if await self._is_absent(semaphore, one)}
        now = self._clock.now()
        plan = semaphores.decide(semaphore, permits, gone=gone, absent=absent, now=now)
        if plan.status is not None:
            await self._write(semaphore, plan.status)
        writes = [self._tell(semaphore, one) for one in plan.permits]
        writes += [self._end(semaphore, one, gone=gone) for one in plan.delete]
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            if outcome is not None:
                raise outcome
        if plan.look_again_at is not None:
            self._looks.again_at(key, plan.look_again_at, now=now)

    async def _delete_strays(self, key: Key, strays: Sequence[Permit]) -> None:
        """Delete Permits of a Semaphore that is gone, if it is: who waits is not to wait for a garbage collector."""
        try:
            uid = _decode_metadata(await self._transport.send(requests.get(requests.SEMAPHORES, *key))).metadata.uid
        except errors.NotFound:
            uid = ""
        for one in strays:
            if one.owner_uid != uid:
                await self._delete(one)

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

    async def _write(self, semaphore: Semaphore, status: SemaphoreStatus) -> None:
        meta = semaphore.metadata
        body = msgspec.structs.replace(semaphore, status=status)
        request = requests.replace_status(requests.SEMAPHORES, meta.namespace, meta.name, body)
        try:
            stored = _decode(await self._transport.send(request))
        except (errors.Conflict, errors.NotFound):
            return  # the watch shows what stands there instead
        if _key(stored) in self._semaphores:
            self._take(stored)

    async def _tell(self, semaphore: Semaphore, permit: Permit) -> None:
        meta = permit.metadata
        request = requests.replace_status(requests.PERMITS, meta.namespace, meta.name, permit)
        try:
            stored = _decode_permit(await self._transport.send(request))
        except (errors.Conflict, errors.NotFound):
            return
        self._permits.update(stored)
        if stored.status.phase is PermitPhase.EXPIRED:
            message = f"{meta.name} of {permit.spec.holder} was held for its whole ttl: its permit is free again"
            self._events.record(reference(semaphore), "Warning", PERMIT_EXPIRED, message)

    async def _end(self, semaphore: Semaphore, permit: Permit, *, gone: Collection[str]) -> None:
        if await self._delete(permit) and permit.metadata.uid in gone:
            message = f"{permit.spec.bound_to} has ended: its Permit {permit.metadata.name} is deleted"
            self._events.record(reference(semaphore), "Warning", HOLDER_GONE, message)

    async def _delete(self, permit: Permit) -> bool:
        meta = permit.metadata
        request = requests.delete(
            requests.PERMITS, meta.namespace, meta.name, uid=meta.uid, resource_version=meta.resource_version
        )
        try:
            await self._transport.send(request)
        except (errors.Conflict, errors.NotFound):
            return False
        return True


class _Permits:
    """All Permits by their Semaphore; handler of their watch."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._by_semaphore: dict[Key, dict[str, Permit]] = {}

    def of(self, key: Key) -> Sequence[Permit]:
        """Return those of a Semaphore."""
        return list(self._by_semaphore.get(key, {}).values())

    def on_list(self, objects: Sequence[Permit], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        found = {(one.metadata.namespace, one.metadata.name) for one in objects}
        known = [one for permits in self._by_semaphore.values() for one in permits.values()]
        for one in known:
            if (one.metadata.namespace, one.metadata.name) not in found:
                self.on_event("DELETED", one)
        for one in objects:
            self.take(one)

    def on_event(self, type: EventType, obj: Permit) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        if type != "DELETED":
            self.take(obj)
            return
        key = _semaphore_of(obj)
        permits = self._by_semaphore.get(key, {})
        permits.pop(obj.metadata.name, None)
        if not permits:
            self._by_semaphore.pop(key, None)
        self._looks.queue.add(key)

    def take(self, permit: Permit) -> None:
        """Take one as it is now."""
        key = _semaphore_of(permit)
        permits = self._by_semaphore.setdefault(key, {})
        if is_newer(permit, permits.get(permit.metadata.name)):
            permits[permit.metadata.name] = permit
            self._looks.queue.add(key)

    def update(self, permit: Permit) -> None:
        """Take one that we have written, unless it has been deleted meanwhile."""
        if permit.metadata.name in self._by_semaphore.get(_semaphore_of(permit), {}):
            self.take(permit)

    def on_holder(self, uid: str | None) -> None:
        """Have those Semaphores looked at of which somebody who may have ended holds a permit."""
        for key, permits in self._by_semaphore.items():
            bound = (one.spec.bound_to for one in permits.values())
            if any(one is not None and uid in {None, one.uid} for one in bound):
                self._looks.queue.add(key)


def _key(semaphore: Semaphore) -> Key:
    return semaphore.metadata.namespace, semaphore.metadata.name


def _semaphore_of(permit: Permit) -> Key:
    return permit.metadata.namespace, permit.spec.semaphore
