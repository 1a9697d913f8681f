"""Internal. Looks after WaitGroups: observes them and their holders, and carries out what ``primitives`` decides.

Level-based: each look takes the newest WaitGroup that the watch has shown. A write carries its resourceVersion, so one
that comes late is refused, and the watch shows what to decide about instead. Built by ``coordinator``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.konductor_v1 import WaitGroup, WaitGroupHolder, WaitGroupStatus
from kontinue.api.meta import ObjectReference
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.arbiter.holders import Holders
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.informer import Informer
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.primitives import wait_groups
from kontinue_engine.telemetry.logs import get_logger

HOLDER_GONE: Final = "HolderGone"
EXPIRED: Final = "Expired"
INVALID_TTL: Final = "InvalidTTL"

LOOKS_AT_ONCE: Final = 8
"""Judgement: a node that dies with hundreds of holders is told within a second, and leaves room for others."""
RETRY_S: Final = 1.0
"""After a refusal. Judgement."""
LOOK_AGAIN_S: Final = 60.0
"""Clocks are set and laptops sleep, so what is due later is looked at after half of its time, but not before this."""

Key = tuple[str, str]
"""Namespace and name."""

_log = get_logger(__name__)
_decode: Final = msgspec.json.Decoder(WaitGroup).decode


class WaitGroupController:
    """Looks after the WaitGroups of a namespace, or of all.

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
        self._groups: dict[Key, WaitGroup] = {}
        self._held_by: dict[str, set[Key]] = {}
        self._told_ttl: dict[Key, str] = {}
        self._queue: WorkQueue[Key] = WorkQueue()
        self._holders = Holders(transport, namespace, self._on_holder)
        self._informer = Informer(transport, requests.WAIT_GROUPS, namespace, type_=WaitGroup, handler=self)

    async def run(self) -> None:
        """Look after them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._holders.run(), name="holders")
            tasks.create_task(self._informer.run(), name="wait groups")
            for number in range(LOOKS_AT_ONCE):
                tasks.create_task(self._look_at_all(), name=f"wait groups/{number}")

    def on_list(self, objects: Sequence[WaitGroup], *, initial: bool) -> None:
        """Take all WaitGroups."""
        del initial
        for key in self._groups.keys() - {_key(group) for group in objects}:
            self._forget(key)
        for group in objects:
            self._take(group)

    def on_event(self, type: EventType, obj: WaitGroup) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        if type == "DELETED":
            self._forget(_key(obj))
        else:
            self._take(obj)

    def _take(self, group: WaitGroup) -> None:
        key = _key(group)
        self._unbind(key)
        self._groups[key] = group
        for one in group.status.holders:
            self._held_by.setdefault(one.uid, set()).add(key)
        self._queue.add(key)

    def _forget(self, key: Key) -> None:
        self._unbind(key)
        self._groups.pop(key, None)
        self._told_ttl.pop(key, None)
        self._queue.forget(key)

    def _unbind(self, key: Key) -> None:
        known = self._groups.get(key)
        for one in known.status.holders if known is not None else ():
            keys = self._held_by.get(one.uid, set())
            keys.discard(key)
            if not keys:
                self._held_by.pop(one.uid, None)

    def _on_holder(self, uid: str | None) -> None:
        for key in self._held_by.get(uid, ()) if uid is not None else set().union(*self._held_by.values()):
            self._queue.add(key)

    async def _look_at_all(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._look_at(key)
            except errors.ApiError as error:
                _log.warning("wait group not looked after", wait_group=_name(key), error=str(error))
                self._queue.add_after(key, RETRY_S)
            finally:
                self._queue.done(key)

    async def _look_at(self, key: Key) -> None:
        group = self._groups.get(key)
        if group is None:
            return
        namespace = group.metadata.namespace
        gone = {one.uid for one in group.status.holders if await self._holders.is_gone(namespace, one)}
        now = self._clock.now()
        plan = wait_groups.decide(group, gone=gone, now=now)
        if plan.bad_ttl and self._told_ttl.get(key) != group.spec.ttl:
            self._told_ttl[key] = group.spec.ttl
            self._events.record(_reference(group), "Warning", INVALID_TTL, f"it is kept: {plan.bad_ttl}")
        try:
            if plan.delete:
                await self._delete(group)
            if plan.status is not None:
                await self._write(group, plan.status)
                self._tell_released(group, plan.released)
        except (errors.Conflict, errors.NotFound):
            return  # the watch shows what stands there instead
        if plan.look_again_at is not None:
            self._queue.add_after(key, _until(plan.look_again_at, now))

    async def _write(self, group: WaitGroup, status: WaitGroupStatus) -> None:
        meta = group.metadata
        body = msgspec.structs.replace(group, status=status)
        request = requests.replace_status(requests.WAIT_GROUPS, meta.namespace, meta.name, body)
        _decode(await self._transport.send(request))

    async def _delete(self, group: WaitGroup) -> None:
        meta = group.metadata
        request = requests.delete(
            requests.WAIT_GROUPS, meta.namespace, meta.name, uid=meta.uid, resource_version=meta.resource_version
        )
        await self._transport.send(request)
        self._events.record(_reference(group), "Normal", EXPIRED, f"deleted: it was Done for {group.spec.ttl}")

    def _tell_released(self, group: WaitGroup, released: Sequence[WaitGroupHolder]) -> None:
        for one in released:
            _log.info("holder gone", wait_group=_name(_key(group)), holder=str(one), count=one.count)
            message = f"{one} has ended without being done: its {one.count} are released"
            self._events.record(_reference(group), "Warning", HOLDER_GONE, message)


def _key(group: WaitGroup) -> Key:
    return group.metadata.namespace, group.metadata.name


def _name(key: Key) -> str:
    return "/".join(key)


def _reference(group: WaitGroup) -> ObjectReference:
    meta = group.metadata
    return ObjectReference(
        api_version=group.api_version, kind=group.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid
    )


def _until(due: datetime, now: datetime) -> float:
    left_s = (due - now).total_seconds()
    return min(left_s, max(left_s / 2, LOOK_AGAIN_S))
