"""Internal. What Executions do with objects of ``konductor.io``: each operation once, however often it is asked for.

Called by ``controllers.primitives``, which knows who asks and who is told. The writes and waits are those of
``kontinue.sync``; here they get ids that others do not choose, are bound to their Execution, and keep their place when
their caller ends: another replica goes on waiting with the same id.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

import msgspec

from kontinue import errors
from kontinue.api.konductor import counting
from kontinue.api.konductor.barriers import Barrier as StoredBarrier
from kontinue.api.konductor.barriers import BarrierStatus
from kontinue.api.konductor.child_names import child_name
from kontinue.api.konductor.counting import Operation
from kontinue.api.konductor.gates import Gate as StoredGate
from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.leases import LeaseRequest, LeaseRequestSpec
from kontinue.api.konductor.locking import Claim, Grant, LockKind, QueueFull
from kontinue.api.konductor.mutexes import MUTEXES
from kontinue.api.konductor.onces import ONCES, ended
from kontinue.api.konductor.onces import Once as StoredOnce
from kontinue.api.konductor.rwmutexes import RWMUTEXES
from kontinue.api.konductor.semaphores import Permit, PermitSpec
from kontinue.api.konductor.wait_groups import WaitGroup
from kontinue.api.meta import ObjectMeta
from kontinue.client.client import Client
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.backoff import Backoff
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.primitive_calls import BARRIER, GATE, LEASE, MUTEX, ONCE, RW_MUTEX, SEMAPHORE, WAIT_GROUP, Begun, Held
from kontinue.sync.granted.lease import LEASE_LABEL, Lease
from kontinue.sync.granted.permits import new_permit
from kontinue.sync.granted.semaphore import Semaphore
from kontinue.sync.holding.holders import holder_name
from kontinue.sync.holding.locker import Locker
from kontinue.sync.objects.changes import settled
from kontinue.sync.objects.owned import child_meta
from kontinue.sync.objects.removing import remove
from kontinue.sync.objects.watching import Gone, listed, states
from kontinue.sync.openings.barrier import Barrier
from kontinue.sync.openings.gate import Gate
from kontinue.sync.wait_groups.counter import Counter
from kontinue.sync.wait_groups.following import Following
from kontinue_engine.kube.shared_waits import Progress, SharedWait
from kontinue_engine.lifecycle.times import ms_of
from kontinue_engine.wire.frames import AskPrimitive, WithdrawPrimitive

T = TypeVar("T")

HELD_VERBS: Final = frozenset({"lock", "begin"})
"""What is held until it is released or withdrawn."""
KEPT_VERBS: Final = frozenset({*HELD_VERBS, "release", "arrive"})
"""What the object itself remembers: who asks again is answered the same."""
WAITING_VERBS: Final = frozenset({*HELD_VERBS, "wait"})

_FOREVER_S: Final = 1e9
"""An API server that is away is waited for, as everywhere in a worker."""

_LOCKS: Final[dict[str, tuple[Resource, LockKind[Any]]]] = {
    MUTEX: (requests.MUTEXES, MUTEXES),
    RW_MUTEX: (requests.RW_MUTEXES, RWMUTEXES),
    ONCE: (requests.ONCES, ONCES),
}
_ASKING: Final[dict[str, tuple[Resource, type[Permit | LeaseRequest]]]] = {
    SEMAPHORE: (requests.PERMITS, Permit),
    LEASE: (requests.LEASE_REQUESTS, LeaseRequest),
}
_LONGEST: Final = "876000h"
"""A hundred years: what is bound to an Execution lasts as long as that, whatever its object says of others."""
_COUNTERS: Final = 64
"""WaitGroups on which a replica has counted lately: it goes on as the same writer. Judgement."""
_ROOM_FIRST_S: Final = 1.0
_ROOM_CAP_S: Final = 30.0
"""How often a queue without room is asked again. Judgement: hundreds wait by then, and each of them asks."""
_encode: Final = msgspec.json.Encoder().encode


class _Options(msgspec.Struct, rename="camel"):
    delta: int = 0
    bound: bool = False
    for_first_add: bool = False
    shared: bool = False
    priority: int | None = None
    failure: str = ""
    is_theirs: bool = False
    """Of a Once: somebody else has done it before."""


class _Asking(msgspec.Struct):
    """A Permit or LeaseRequest, of whatever version, of which only the identity matters."""

    metadata: ObjectMeta


_decode_asking: Final = reader(_Asking)


class _Executed(Exception):  # noqa: N818 - an answer
    def __init__(self, once: StoredOnce) -> None:
        super().__init__(once.metadata.name)
        self.once = once


class PrimitiveOperations:
    """Operations of one replica; those on one object share its watch and its writes.

    Each Permit and each LeaseRequest that waits is an object of its own, with a watch of its own.

    Args:
        transport: to the API server.
        namespace: of all objects.
    """

    def __init__(self, transport: Transport, namespace: str) -> None:
        self._transport = transport
        self._namespace = namespace
        self._client = Client.from_kube(transport, namespace)
        self._shared: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()
        self._counters: deque[Counter] = deque(maxlen=_COUNTERS)

    async def perform(self, asked: AskPrimitive, holder: Holder, *, may_repeat: bool, on_progress: Progress) -> bytes:
        """Do what is asked, and return JSON of the answer. Cancelled, what waits or holds stays as it is.

        Args:
            asked: what.
            holder: the Execution, with its uid.
            may_repeat: it may have been done already.
            on_progress: called with why it has to wait, for people.

        Raises:
            KontinueError: it cannot be done.
        """
        options = msgspec.json.decode(asked.options, type=_Options)
        match asked.kind, asked.verb:
            case "WaitGroup", "add":
                return _encode(await self._count(asked, options, holder, may_repeat=may_repeat))
            case "WaitGroup", "wait":
                await self._done(asked.name, options, on_progress)
            case (("Mutex" | "RWMutex"), "lock"):
                return _encode(await self._lock(asked, options, holder, on_progress))
            case "Once", "begin":
                return _encode(await self._begin(asked, holder, on_progress))
            case "Once", "release":
                await self._end(asked.name, asked.id, options)
            case (("Semaphore" | "Lease"), "lock"):
                return _encode(await self._granted(asked, options, holder))
            case "Barrier", "arrive":
                await Barrier(asked.name, self._client).arrive(holder_name(holder))
            case "Barrier", "wait":
                await self._barrier(asked.name).join(on_progress)
            case "Gate", "wait":
                await self._gate(asked.name).join(on_progress)
            case _, "release":
                await self.withdraw(asked, holder)
            case _:
                raise errors.InvalidState(f"a {asked.kind} cannot be asked to {asked.verb}")
        return b"null"

    async def withdraw(self, asked: AskPrimitive | WithdrawPrimitive, holder: Holder) -> None:
        """Leave a queue, or give back what is held; idempotent.

        Raises:
            ApiError: the server refuses.
        """
        with suppress(errors.NotFound):
            if asked.kind in _ASKING:
                resource = _ASKING[asked.kind][0]
                name = child_name(asked.name, holder_name(holder), suffix=asked.id)
                found = _decode_asking(await self._transport.send(requests.get(resource, self._namespace, name)))
                # Not by name alone: a request that comes late must not take what has been asked for since.
                await remove(self._transport, resource, found.metadata, retry_for_s=_FOREVER_S)
            else:
                await self._locker(asked.kind, asked.name).leave(asked.id)

    # WaitGroups.

    async def _count(self, asked: AskPrimitive, options: _Options, holder: Holder, *, may_repeat: bool) -> int:
        bound = holder if options.bound else None
        if may_repeat:
            await self._refuse_doubtful(asked)
        counter = self._one("counter", asked.name, lambda: self._counter(asked.name))
        with suppress(ValueError):
            self._counters.remove(counter)
        self._counters.append(counter)  # the one that was not used for longest goes
        try:
            return await settled(counter.count(Operation(delta=options.delta, id=asked.id, holder=bound)))
        except errors.InvalidState as error:
            raise errors.InvalidState(f"WaitGroup {self._namespace}/{asked.name}: {error}") from error

    async def _refuse_doubtful(self, asked: AskPrimitive) -> None:
        """Whoever cannot know whether something was counted does not count it again."""
        group = await self._following(asked.name).read()
        if counting.remembers(group.status, asked.id):
            return
        why = ""
        created = group.metadata.creation_timestamp
        if counting.may_have_forgotten_operations(group.status):
            why = "more has been counted since than it remembers"
        elif created is not None and ms_of(created) > asked.since_ms:
            why = "it was created later than it may have been asked, so it may have been another one"
        if why:
            raise errors.InvalidState(
                f"whether this was counted on WaitGroup {self._namespace}/{asked.name} before the worker was "
                f"interrupted cannot be told: {why}"
            )

    async def _done(self, name: str, options: _Options, on_progress: Progress) -> None:
        def progress(group: WaitGroup) -> None:
            on_progress(f"its counter is {group.counter}")

        await self._following(name).until_done(for_first_add=options.for_first_add, on_progress=progress)

    # Locks and Onces.

    async def _lock(self, asked: AskPrimitive, options: _Options, holder: Holder, on_progress: Progress) -> Held:
        claim = Claim(id=asked.id, holder=holder_name(holder), bound_to=holder, is_shared=options.shared)
        return Held(asked.name, (await self._taken(asked, claim, on_progress)).token)

    async def _taken(
        self, asked: AskPrimitive, claim: Claim, on_progress: Progress, before: Callable[[Any], None] | None = None
    ) -> Grant:
        """Wait for a lock, for as long as it takes. A queue without room is asked again; then no order is kept."""
        locks_of = _LOCKS[asked.kind][1].locks_of
        backoff = Backoff(first_s=_ROOM_FIRST_S, cap_s=_ROOM_CAP_S)
        while True:
            try:
                taken = await self._locker(asked.kind, asked.name).take(
                    claim,
                    ttl=lambda _: None,
                    limit=None,
                    on_progress=lambda state: on_progress(_held_by(one.holder for one in locks_of(state).grants)),
                    before=before,
                    keeps_place=True,
                )
            except QueueFull as error:
                on_progress(str(error))
            else:
                return taken.grant
            await asyncio.sleep(backoff.next_s())

    async def _begin(self, asked: AskPrimitive, holder: Holder, on_progress: Progress) -> Begun:
        def refuse_executed(once: StoredOnce) -> None:
            if once.status.executed:
                raise _Executed(once)

        try:
            claim = Claim(id=asked.id, holder=holder_name(holder), bound_to=holder)
            await self._taken(asked, claim, on_progress, refuse_executed)
        except _Executed as answer:
            return Begun(is_executed=True, is_ours=answer.once.status.lock_id == asked.id)
        return Begun()

    async def _end(self, name: str, id_: str, options: _Options) -> None:
        now = datetime.now(UTC)

        def change(once: StoredOnce) -> StoredOnce:
            if options.is_theirs:
                return once
            if (changed := ended(once, id_, failure=options.failure, now=now)) is not None:
                return changed
            if not options.failure:
                raise errors.InvalidState(
                    f"Once {self._namespace}/{name} has been taken away from this Execution while it did it: "
                    "it is not noted as executed by it, and somebody else may do it, too"
                )
            return once

        with suppress(errors.NotFound):
            await self._locker(ONCE, name).changes.apply(change)

    # Semaphores and Leases.

    async def _granted(self, asked: AskPrimitive, options: _Options, holder: Holder) -> Held:
        """Ask by an object, and wait for what the coordinator decides. What is in the way is of an earlier attempt."""
        resource, type_ = _ASKING[asked.kind]
        name = child_name(asked.name, holder_name(holder), suffix=asked.id)
        backoff = Backoff()
        while True:
            wanted = await self._wanted(asked, options, holder, name)
            with suppress(errors.AlreadyExists):
                await settled(self._transport.send(requests.create(resource, self._namespace, wanted), repeatable=True))
            decided = await self._decided(resource, type_, name)
            if decided is not None:
                if decided.is_granted:
                    return Held(asked.name, decided.status.token if isinstance(decided, LeaseRequest) else 0)
                await remove(self._transport, resource, decided.metadata, retry_for_s=_FOREVER_S)
                if decided.status.message:
                    raise errors.InvalidState(f"{asked.kind} {asked.name} is not granted: {decided.status.message}")
            await asyncio.sleep(backoff.next_s())  # somebody has deleted it, or it has expired

    async def _wanted(self, asked: AskPrimitive, options: _Options, holder: Holder, name: str) -> Permit | LeaseRequest:
        text = holder_name(holder)
        if asked.kind == SEMAPHORE:
            semaphore = await Semaphore(asked.name, self._client).get()
            ttl = _LONGEST if semaphore.spec.ttl else ""
            spec = PermitSpec(semaphore=asked.name, holder=text, ttl=ttl, bound_to=holder)
            return new_permit(name, semaphore, spec)
        lease = await Lease(asked.name, self._client).get()
        return LeaseRequest(
            metadata=child_meta(lease, name, label=LEASE_LABEL),
            spec=LeaseRequestSpec(
                lease=asked.name, holder=text, priority=options.priority, ttl=_LONGEST, bound_to=holder
            ),
        )

    async def _decided(
        self, resource: Resource, type_: type[Permit | LeaseRequest], name: str
    ) -> Permit | LeaseRequest | None:
        """Return what has been decided about it; None if it is gone.

        Raises:
            ApiError: it cannot be read.
        """
        async with aclosing(states(self._transport, resource, self._namespace, name, type_)) as found:
            async for one in found:
                if isinstance(one, Gone):
                    break
                if one.is_decided:
                    return one
        return None

    # What operations on one object share.

    def _counter(self, name: str) -> Counter:
        return Counter(self._transport, self._namespace, name, retry_for_s=_FOREVER_S)

    def _following(self, name: str) -> Following:
        return self._one(
            WAIT_GROUP, name, lambda: Following(self._transport, self._namespace, name, retry_for_s=_FOREVER_S)
        )

    def _locker(self, kind: str, name: str) -> Locker[Any]:
        resource, lock_kind = _LOCKS[kind]
        return self._one(
            kind,
            name,
            lambda: Locker(self._transport, resource, lock_kind, self._namespace, name, retry_for_s=_FOREVER_S),
        )

    def _barrier(self, name: str) -> SharedWait[StoredBarrier]:
        barrier = Barrier(name, self._client)

        def wait(tell: Progress) -> Coroutine[Any, Any, StoredBarrier]:
            return barrier.wait(on_progress=lambda one: tell(_arrived(one.status)))

        def look() -> Coroutine[Any, Any, StoredBarrier]:
            return listed(self._transport, requests.BARRIERS, self._namespace, name, StoredBarrier)

        return self._one(BARRIER, name, lambda: SharedWait(wait, look))

    def _gate(self, name: str) -> SharedWait[StoredGate]:
        gate = Gate(name, self._client)

        def wait(tell: Progress) -> Coroutine[Any, Any, StoredGate]:
            return gate.wait(on_progress=lambda one: tell(one.missing))

        def look() -> Coroutine[Any, Any, StoredGate]:
            return listed(self._transport, requests.GATES, self._namespace, name, StoredGate)

        return self._one(GATE, name, lambda: SharedWait(wait, look))

    def _one(self, kind: str, name: str, make: Callable[[], T]) -> T:
        found: T | None = self._shared.get((kind, name))
        if found is None:
            found = self._shared[kind, name] = make()
        return found


def _held_by(holders: Iterable[str]) -> str:
    names = ", ".join(dict.fromkeys(holders))
    return f"held by {names}" if names else ""


def _arrived(status: BarrierStatus) -> str:
    return f"{status.arrived or 0} have arrived"
