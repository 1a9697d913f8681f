"""Internal. What conditions of Gates are about: watched by kind, and each kind only once a condition asks for it.

A Job that no Gate waits for costs nothing. Used by ``gates``, which has what has changed looked at again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from kontinue import errors
from kontinue.api.konductor.barriers import Barrier
from kontinue.api.konductor.gates import Gate, GateTarget
from kontinue.api.konductor.leases import Lease
from kontinue.api.konductor.mutexes import Mutex
from kontinue.api.konductor.onces import Once
from kontinue.api.konductor.semaphores import Semaphore
from kontinue.api.konductor.wait_groups import WaitGroup
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.requests import Resource
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue_engine.arbiter.caretaker import key_of
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.kube.informer import Informer
from kontinue_engine.primitives.gate_states import Job, Target

T = TypeVar("T", bound=Target)

_KINDS: Final[dict[GateTarget, tuple[Resource, type[Any]]]] = {
    GateTarget.JOB: (requests.JOBS, Job),
    GateTarget.SEMAPHORE: (requests.SEMAPHORES, Semaphore),
    GateTarget.BARRIER: (requests.BARRIERS, Barrier),
    GateTarget.LEASE: (requests.KONDUCTOR_LEASES, Lease),
    GateTarget.GATE: (requests.GATES, Gate),
    GateTarget.MUTEX: (requests.MUTEXES, Mutex),
    GateTarget.ONCE: (requests.ONCES, Once),
    GateTarget.WAIT_GROUP: (requests.WAIT_GROUPS, WaitGroup),
}


class _Page(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw] | None = None


_decode_page: Final = reader(_Page, what="list of objects")


class Targets:
    """The objects of a namespace, or of all, that conditions are about.

    Args:
        transport: to the API server.
        namespace: where; empty for everywhere.
        on_change: told of which kind an object has changed, and where it is; None: all of the kind.
    """

    def __init__(
        self, transport: Transport, namespace: str, on_change: Callable[[GateTarget, Key | None], None]
    ) -> None:
        self._transport = transport
        self._namespace = namespace
        self._on_change = on_change
        self._kinds: dict[GateTarget, _Kind[Any]] = {}
        self._wanted: asyncio.Queue[_Kind[Any]] = asyncio.Queue()

    async def run(self) -> None:
        """Watch what is asked for until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                kind = await self._wanted.get()
                tasks.create_task(kind.informer.run(), name=f"gates/{kind.target}")

    def is_known(self, target: GateTarget, key: Key) -> bool:
        """Tell whether ``find`` has an answer; if not, what is asked for is watched from now."""
        if self._is_elsewhere(key):
            return True
        if target not in self._kinds:
            self._kinds[target] = _Kind(target, self._transport, self._namespace, self._on_change)
            self._wanted.put_nowait(self._kinds[target])
        informer = self._kinds[target].informer
        return informer.synced.is_set() or informer.last_error is not None

    def find(self, target: GateTarget, key: Key) -> Target | str | None:
        """Return an object as its watch has shown it, or why it cannot be read; None: there is none."""
        if self._is_elsewhere(key):
            return f"the coordinator looks after {self._namespace} alone"
        kind = self._kinds[target]
        if not kind.informer.synced.is_set():
            return f"it cannot be read: {kind.informer.last_error}"
        return kind.objects.get(key)

    async def read(self, target: GateTarget, key: Key) -> Target | str | None:
        """Return an object as the server has it now, or why it cannot be read; None: there is none.

        Raises:
            ApiError: there is no answer; ask again.
        """
        if self._is_elsewhere(key):
            return self.find(target, key)
        resource, type_ = _KINDS[target]
        request = requests.list_objects(resource, key[0], field_selector=f"metadata.name={key[1]}")
        try:
            items = _decode_page(await self._transport.send(request)).items or ()
            found: list[Target] = [msgspec.json.decode(item, type=type_) for item in items]
        except (errors.Forbidden, errors.NotFound, msgspec.MsgspecError) as error:
            return f"it cannot be read: {error}"
        return next(iter(found), None)

    def _is_elsewhere(self, key: Key) -> bool:
        return bool(self._namespace) and key[0] != self._namespace


class _Kind(Generic[T]):
    """All objects of one kind; handler of their watch."""

    def __init__(
        self,
        target: GateTarget,
        transport: Transport,
        namespace: str,
        on_change: Callable[[GateTarget, Key | None], None],
    ) -> None:
        resource, type_ = _KINDS[target]
        self.target = target
        self.objects: dict[Key, T] = {}
        self.informer: Informer[T] = Informer(transport, resource, namespace, type_=type_, handler=self)
        self._on_change = on_change

    def on_list(self, objects: Sequence[T], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        self.objects = {key_of(found): found for found in objects}
        self._on_change(self.target, None)

    def on_event(self, type: EventType, obj: T) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        key = key_of(obj)
        if type == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = obj
        self._on_change(self.target, key)
