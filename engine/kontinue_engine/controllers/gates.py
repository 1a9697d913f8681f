"""Internal. What keeps Executions of this replica from being started: mutexes that others hold, and limits.

A mutex is held by whom its Lease names; the leader grants it (``kontinue_engine.sharding.mutexes``), this replica looks
and, once an Execution has stopped, deletes the Lease. Limits are given out here only in a group that is not sharded; in
a sharded one the leader has done so before an Execution comes here. Asked by ``controllers.execution``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.kube import requests
from kontinue_engine.controllers.entries import Entry
from kontinue_engine.controllers.runtime import Runtime
from kontinue_engine.kube.ancestry import Ancestry
from kontinue_engine.lifecycle.gates import FUNCTION, MUTEX, TELL_AFTER_MS, full_message, held_message, refusal
from kontinue_engine.lifecycle.observed import Gate
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.leases import mutex_key, mutex_lease_name
from kontinue_engine.sharding.limits import Limits
from kontinue_engine.telemetry.logs import get_logger

RENAME_AFTER_MS: Final = 30_000
"""How long a status names a holder, though there is another one by now: many may wait for one mutex. Judgement."""

_log = get_logger(__name__)


class _Wait(msgspec.Struct, kw_only=True):
    """One Execution that waits.

    Attributes:
        kind: what for.
        tell_from_ms: it is told so then.
        message: what it is told.
        said_ms: since when that is the message.
        holders: uids of those who had it when that was last looked at.
        ancestors: uids; None as long as nobody knows.
        is_climbing: they are being looked up.
    """

    kind: str
    tell_from_ms: int
    message: str
    said_ms: int
    holders: Collection[str] = ()
    ancestors: frozenset[str] | None = None
    is_climbing: bool = False


class Gates:
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
        self._waiting_for_lease: dict[str, dict[str, Entry]] = {}

    async def run(self, news: asyncio.Event) -> None:
        """Look at the Leases whenever ``news`` is set, until cancelled."""
        while True:
            await news.wait()
            news.clear()
            for name, waiting in self._waiting_for_lease.items():
                lease = self._lease(name)
                if lease is not None and lease.spec.holder_identity in waiting:
                    self._runtime.queue.add(lease.spec.holder_identity)

    def add(self, entry: Entry) -> None:
        """Take an Execution that is new here. All that a list shows are taken before any of them is asked for."""
        function = entry.spec.function
        if self._limits.is_limited(function):
            if entry.status.owner is not None:
                self._limits.hold(entry.uid, function, entry.name)
            elif entry.spec.mutex is None:
                self._limits.wait(entry.uid, function, _turn(entry))

    def find(self, entry: Entry, now_ms: int) -> Gate | None:
        """Return what keeps an Execution from being started, if anything does. Without a mutex it takes no slot."""
        if entry.spec.mutex is not None:
            gate = self._find_mutex(entry, entry.spec.mutex.name, now_ms)
            if gate is not None:
                return gate
        if self._limits.is_limited(entry.spec.function):
            gate = self._find_limit(entry, now_ms)
            if gate is not None:
                return gate
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
        await self._runtime.may_write()
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

    def _find_mutex(self, entry: Entry, mutex: str, now_ms: int) -> Gate | None:
        name = mutex_lease_name(self._runtime.scope.group, mutex)
        lease = self._lease(name)
        holder = lease.spec.holder_identity if lease is not None else ""
        if lease is not None and holder == entry.uid:
            entry.grant = int(lease.metadata.resource_version)
            self._wait_no_more(entry, name)
            return None
        self._waiting_for_lease.setdefault(name, {})[entry.uid] = entry
        if self._runtime.scope.shard and labels.MUTEX not in entry.labels and entry.uid not in self._waits:
            self._runtime.spawn(entry.uid, self._announce(entry, mutex), name=f"announce/{entry.name}")
        holders: dict[str, str] = {}
        if lease is not None and holder:
            holders[holder] = lease.metadata.annotations.get(labels.EXECUTION, "")
        message = held_message(holders.get(holder, ""))
        return self._closed(entry, MUTEX, mutex, holders, message, now_ms)

    async def _announce(self, entry: Entry, mutex: str) -> None:
        """Label one that somebody has put into this shard by hand: the leader finds those with a mutex by that."""
        await self._runtime.may_write()
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
        waiting = self._waiting_for_lease.get(name)
        if waiting is not None and waiting.pop(entry.uid, None) is not None and not waiting:
            del self._waiting_for_lease[name]

    def _lease(self, name: str) -> Lease | None:
        sighting = self._book.get(name)
        return sighting.lease if sighting is not None else None

    # Limits.

    def _find_limit(self, entry: Entry, now_ms: int) -> Gate | None:
        function = entry.spec.function
        self._limits.wait(entry.uid, function, _turn(entry))
        self._admit()
        if self._limits.has_slot(entry.uid):
            return None
        holders = self._limits.holders(function)
        message = full_message(holders, self._limits.limit(function))
        return self._closed(entry, FUNCTION, function, holders, message, now_ms)

    def _admit(self) -> None:
        for uid in self._limits.admit():
            self._runtime.queue.add(uid)

    # What waits.

    def _closed(
        self, entry: Entry, kind: str, name: str, holders: Mapping[str, str], message: str, now_ms: int
    ) -> Gate:
        wait = self._waits.get(entry.uid)
        if wait is None or wait.kind != kind:
            wait = self._waits[entry.uid] = _begun(entry, kind, name, message, now_ms)
        if wait.message != message:
            self._rename(entry, wait, message, now_ms)
        wait.holders = tuple(holders)
        if entry.parent_uid and holders and now_ms >= wait.tell_from_ms:
            self._climb(entry, wait)
        if holders and wait.ancestors is not None and wait.ancestors.issuperset(holders):
            return refusal(kind, name, holders)
        return Gate(kind=kind, name=name, message=wait.message, tell_from_ms=wait.tell_from_ms)

    def _rename(self, entry: Entry, wait: _Wait, message: str, now_ms: int) -> None:
        """Somebody else holds it now: say so, but not at every turn."""
        is_untold = now_ms < wait.tell_from_ms or not wait.holders
        again_ms = wait.said_ms + RENAME_AFTER_MS
        if is_untold or (wait.kind == MUTEX and now_ms >= again_ms):
            wait.message, wait.said_ms = message, now_ms
        elif wait.kind == MUTEX:
            self._runtime.queue.add_after(entry.uid, (again_ms - now_ms) / 1000)

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
            return _Wait(kind=kind, tell_from_ms=now_ms, message=told.message, said_ms=now_ms, holders=("?",))
    return _Wait(kind=kind, tell_from_ms=now_ms + TELL_AFTER_MS, message=message, said_ms=now_ms)


def _turn(entry: Entry) -> tuple[float, str]:
    return entry.created_at_ms / 1000, entry.name
