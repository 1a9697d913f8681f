"""Internal. What keeps Executions of this replica from being started: mutexes that others hold, and limits.

A mutex is held by whom its Lease names; the leader grants it (``kontinue_engine.sharding.mutexes``), this replica looks
and, once an Execution has stopped, deletes the Lease. Limits are given out here only in a group that is not sharded; in
a sharded one the leader has done so before an Execution comes here. Asked by ``controllers.execution``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.kube import requests
from kontinue_engine.controllers.entries import Entry, Inheritance
from kontinue_engine.controllers.runtime import Runtime
from kontinue_engine.kube.ancestry import Ancestry
from kontinue_engine.lifecycle.admission import (
    FUNCTION,
    MUTEX,
    TELL_AFTER_MS,
    behind_message,
    full_message,
    held_message,
    refusal,
)
from kontinue_engine.lifecycle.observed import Obstacle
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.leases import mutex_key, mutex_lease_name
from kontinue_engine.sharding.limits import Limits
from kontinue_engine.sharding.views import has_begun, is_grant_of, is_granted_here
from kontinue_engine.sharding.waiting_line import WaitingLine
from kontinue_engine.telemetry.logs import get_logger

RENAME_AFTER_MS: Final = 1_000
"""How long a status may name a former holder: a mutex may change hands many times a second. Judgement."""

_log = get_logger(__name__)


class _Wait(msgspec.Struct, kw_only=True):
    """One Execution that waits.

    Attributes:
        kind: what for.
        tell_from_ms: it is told so then.
        message: what it is told.
        is_told: that was given to be written.
        outdated_ms: since when the message is not true any more.
        ancestors: uids; None as long as nobody knows.
        is_climbing: they are being looked up.
    """

    kind: str
    tell_from_ms: int
    message: str
    is_told: bool = False
    outdated_ms: int | None = None
    ancestors: frozenset[str] | None = None
    is_climbing: bool = False


class Admission:
    """Mutexes and limits, as far as they concern the Executions of this replica.

    Args:
        runtime: shared tools.
        book: Leases of the group.
    """

    def __init__(self, runtime: Runtime, book: LeaseBook) -> None:
        self._runtime = runtime
        self._book = book
        scope = runtime.scope
        self._limits = Limits({} if scope.shard else scope.limits)
        self._ancestry = Ancestry(runtime.transport, scope.namespace)
        self._waits: dict[str, _Wait] = {}
        self._lines: dict[str, WaitingLine] = {}

    async def run(self, news: asyncio.Event) -> None:
        """Look at the Leases whenever ``news`` is set, until cancelled."""
        while True:
            await news.wait()
            news.clear()
            for name, line in self._lines.items():
                lease = self._lease(name)
                holder = lease.spec.holder_identity if lease is not None else ""
                if holder in line:
                    self._runtime.queue.add(holder)
                if holder:  # what is free will have a holder at once
                    self._look_at(line.held_by(holder))

    def add(self, entry: Entry) -> None:
        """Take an Execution that is new here. All that a list shows are taken before any of them is asked for."""
        function = entry.spec.function
        if self._limits.is_limited(function):
            if has_begun(entry.status):
                self._limits.hold(entry.uid, function, entry.name)
            elif entry.spec.mutex is None:
                self._limits.wait(entry.uid, function, _turn(entry))

    def find(self, entry: Entry, now_ms: int) -> Obstacle | None:
        """Return what keeps an Execution from being started, if anything does. Without a mutex it takes no slot."""
        if entry.spec.mutex is not None:
            obstacle = self._find_mutex(entry, entry.spec.mutex.name, now_ms)
            if obstacle is not None:
                return obstacle
        if self._limits.is_limited(entry.spec.function):
            obstacle = self._find_limit(entry, now_ms)
            if obstacle is not None:
                return obstacle
        self._waits.pop(entry.uid, None)
        return None

    def leave(self, entry: Entry) -> None:
        """It is none of ours any more; what it holds, it keeps."""
        self._waits.pop(entry.uid, None)
        if entry.spec.mutex is not None:
            self._wait_no_more(entry, mutex_lease_name(self._runtime.scope.group, entry.spec.mutex.name))
        self._limits.release(entry.uid)
        self._admit()

    def free(self, entry: Entry) -> None:
        """Nothing of it runs any more: others may have what it held."""
        self.leave(entry)
        if entry.spec.mutex is None:
            return
        lease = self._lease(mutex_lease_name(self._runtime.scope.group, entry.spec.mutex.name))
        if lease is not None and lease.spec.holder_identity == entry.uid:
            self._runtime.spawn(entry.uid, self._free(lease), name=f"free/{lease.metadata.name}")

    async def _free(self, lease: Lease) -> None:
        """Delete a Lease; if that fails, or it has changed, the leader finds out that its holder has stopped."""
        meta = lease.metadata
        request = requests.delete(
            requests.LEASES,
            self._runtime.scope.namespace,
            meta.name,
            uid=meta.uid,
            resource_version=meta.resource_version,
        )
        try:
            await self._runtime.transport.send(request)
        except (errors.Conflict, errors.NotFound) as error:
            _log.info("mutex not freed: it has changed", lease=meta.name, error=str(error))

    # Mutexes.

    def _find_mutex(self, entry: Entry, mutex: str, now_ms: int) -> Obstacle | None:
        name = mutex_lease_name(self._runtime.scope.group, mutex)
        lease = self._lease(name)
        holder = lease.spec.holder_identity if lease is not None else ""
        if lease is not None and is_grant_of(lease, entry.uid, entry.status):
            entry.grant = int(lease.metadata.resource_version)
            if entry.is_unclaimed and not is_granted_here(lease, self._runtime.scope.shard):
                entry.inheritance = Inheritance.ADMITTED
            self._wait_no_more(entry, name)
            return None
        line = self._lines.setdefault(name, WaitingLine())
        line.add(entry.uid, _turn(entry))
        if self._runtime.scope.shard and labels.MUTEX not in entry.labels and entry.uid not in self._waits:
            self._runtime.spawn(entry.uid, self._announce(entry, mutex), name=f"announce/{entry.name}")
        holders: dict[str, str] = {}
        if lease is not None and holder and holder != entry.uid:
            holders[holder] = lease.metadata.annotations.get(labels.EXECUTION, "")
            self._look_at(line.held_by(holder))
        message = held_message(holders.get(holder, "")) if line.is_told(entry.uid) else behind_message()
        return self._closed(entry, MUTEX, mutex, holders, message, now_ms)

    async def _announce(self, entry: Entry, mutex: str) -> None:
        """Label one that somebody has put into this shard by hand: the leader finds those with a mutex by that."""
        wanted = {labels.MUTEX: mutex_key(mutex)}
        patch = {"metadata": {"resourceVersion": entry.version, "labels": wanted}}
        request = requests.merge_patch(requests.EXECUTIONS, self._runtime.scope.namespace, entry.name, patch)
        try:
            await self._runtime.transport.send(request)
        except errors.ApiError as error:
            self._waits.pop(entry.uid, None)  # so that it is announced again, when it is looked at again
            if not isinstance(error, (errors.Conflict, errors.NotFound)):
                raise
            self._runtime.queue.add_after(entry.uid, TELL_AFTER_MS / 1000)

    def _wait_no_more(self, entry: Entry, name: str) -> None:
        line = self._lines.get(name)
        if line is not None:
            self._look_at(line.discard(entry.uid))
            if not line:
                del self._lines[name]

    def _look_at(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self._runtime.queue.add(uid)

    def _lease(self, name: str) -> Lease | None:
        sighting = self._book.get(name)
        return sighting.lease if sighting is not None else None

    # Limits.

    def _find_limit(self, entry: Entry, now_ms: int) -> Obstacle | None:
        function = entry.spec.function
        self._limits.wait(entry.uid, function, _turn(entry))
        self._admit()
        if self._limits.has_slot(entry.uid):
            return None
        holders = self._limits.holders(function)
        message = full_message(holders, self._limits.limit(function))
        return self._closed(entry, FUNCTION, function, holders, message, now_ms)

    def _admit(self) -> None:
        self._look_at(self._limits.admit())

    # What waits.

    def _closed(
        self, entry: Entry, kind: str, name: str, holders: Mapping[str, str], message: str, now_ms: int
    ) -> Obstacle:
        wait = self._waits.get(entry.uid)
        if wait is None or wait.kind != kind:
            wait = self._waits[entry.uid] = _begun(entry, kind, name, message, now_ms)
        self._word(entry, wait, message, now_ms)
        if entry.parent_uid and holders and now_ms >= wait.tell_from_ms:
            self._climb(entry, wait)
        if holders and wait.ancestors is not None and wait.ancestors.issuperset(holders):
            return refusal(kind, name, holders)
        return Obstacle(kind=kind, name=name, message=wait.message, tell_from_ms=wait.tell_from_ms)

    def _word(self, entry: Entry, wait: _Wait, message: str, now_ms: int) -> None:
        """Find words for what it waits for; once it was told, others only for a mutex, and not at every turn."""
        if not wait.is_told:
            wait.message, wait.is_told = message, now_ms >= wait.tell_from_ms
        elif wait.message == message or wait.kind != MUTEX:
            wait.outdated_ms = None
        else:
            if wait.outdated_ms is None:
                wait.outdated_ms = now_ms
            left_ms = wait.outdated_ms + RENAME_AFTER_MS - now_ms
            if left_ms > 0:
                self._runtime.queue.add_after(entry.uid, left_ms / 1000)
            else:
                wait.message, wait.outdated_ms = message, None

    def _climb(self, entry: Entry, wait: _Wait) -> None:
        if wait.ancestors is None and not wait.is_climbing:
            wait.is_climbing = True
            self._runtime.spawn(entry.uid, self._find_ancestors(entry, wait), name=f"ancestors/{entry.name}")

    async def _find_ancestors(self, entry: Entry, wait: _Wait) -> None:
        try:
            wait.ancestors = await self._ancestry.find(entry.parent_name, entry.parent_uid)
        finally:
            wait.is_climbing = False
        self._runtime.queue.add(entry.uid)


def _begun(entry: Entry, kind: str, name: str, message: str, now_ms: int) -> _Wait:
    """Return a wait that begins now; or one that began here before a restart, and has been told what it waits for."""
    for told in entry.status.waiting_for:
        if told.kind == kind and told.name == name:
            return _Wait(kind=kind, tell_from_ms=now_ms, message=told.message, is_told=True)
    return _Wait(kind=kind, tell_from_ms=now_ms + TELL_AFTER_MS, message=message)


def _turn(entry: Entry) -> tuple[float, str]:
    return entry.created_at_ms / 1000, entry.name
