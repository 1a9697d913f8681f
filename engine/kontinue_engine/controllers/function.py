"""Internal. The app's functions as Function objects: registered by compare-and-swap, again if somebody deletes them.

One per replica, built by ``worker``, which has it ``register`` at start; from then on it follows the Functions of its
group. One that another group has taken over is given up: only a start with take-over takes it back.
What the app no longer has is none of its business: ``kontinue_engine.coordinator.pruning`` deletes that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, ObjectReference, PartialObjectMetadata
from kontinue.api.v1alpha1 import ExecutionDefaults, Function, FunctionConcurrency, FunctionSpec
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.reflector import Reflector
from kontinue.kube.transport import Transport
from kontinue.kube.watch import EventType
from kontinue.naming import dns_name
from kontinue_engine.errors import FunctionOwnedError
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.functions import StoredFunction, read_function
from kontinue_engine.kube.work_queue import WorkQueue
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.wire.frames import FunctionDescription

RETRY_CAP_S: Final = 60.0
"""Longest delay between two tries. Judgement: what fails is mostly a permission."""
LOST_LOOK_S: Final = 60.0
"""How often a function that another group has taken is looked at: our watch does not show it. Judgement; rare."""
TAKEN_OVER: Final = "FunctionTakenOver"
"""Reason of the Event."""

_log = get_logger(__name__)


class FunctionController:
    """Registers the functions of one replica, and keeps them registered.

    Args:
        transport: to the API server.
        events: where a take-over is told.
        namespace: of the group.
        group: worker group.
        functions: of the app.
    """

    def __init__(
        self,
        transport: Transport,
        events: EventRecorder,
        *,
        namespace: str,
        group: str,
        functions: Sequence[FunctionDescription],
    ) -> None:
        self.registered: dict[str, ObjectMeta] = {}
        """Functions of the group, whoever registered them, by object name; empty until the first list."""
        self.wanted: Mapping[str, Function] = {
            function.metadata.name: function
            for function in (build_function(description, group=group) for description in functions)
        }
        """Those of the app, by object name."""
        self._transport = transport
        self._events = events
        self._namespace = namespace
        self._group = group
        self._lost: set[str] = set()
        self._queue: WorkQueue[str] = WorkQueue()
        self._failures: dict[str, Backoff] = {}
        self._waiters: set[asyncio.Event] = set()

    def is_lost(self, function: str) -> bool:
        """Tell whether another group has taken over this function of the app."""
        return function in self._lost

    def subscribe(self, news: asyncio.Event) -> None:
        """Set ``news`` whenever ``registered`` changes from now on."""
        self._waiters.add(news)

    def unsubscribe(self, news: asyncio.Event) -> None:
        """Leave ``news`` alone."""
        self._waiters.discard(news)

    # At start.

    async def register(self, *, take_over: bool = False) -> None:
        """Create or replace the Function object of each function; of all of them, or of none if one is refused.

        Args:
            take_over: also those that other groups have registered.

        Raises:
            FunctionOwnedError: another worker group has registered one of them.
            ApiError: the server refuses; ``NotFound`` means that namespace or CRDs are missing.
        """
        functions = Reflector(self._transport, requests.FUNCTIONS, self._namespace, type_=StoredFunction)
        listed = {found.metadata.name: found for found in (await functions.fetch()).objects}
        if not take_over:
            for name, function in self.wanted.items():
                if name in listed:
                    _check_owner(listed[name], function)
        for name, function in self.wanted.items():
            await self._put(function, listed.get(name), take_over=take_over)

    # Informer handler: metadata of the group's Functions.

    def on_list(self, objects: Sequence[PartialObjectMetadata], *, initial: bool) -> None:
        """Take all of them."""
        del initial
        self.registered = {found.metadata.name: found.metadata for found in objects}
        for name in self.wanted:
            self._look_at(name)
        self._wake()

    def on_event(self, type: EventType, obj: PartialObjectMetadata) -> None:  # noqa: A002 - the wire's word
        """Take one change. DELETED says that it is gone, or has another group now."""
        name = obj.metadata.name
        if type == "DELETED":
            self.registered.pop(name, None)
        else:
            self.registered[name] = obj.metadata
        if name in self.wanted:
            self._look_at(name)
        self._wake()

    async def run(self) -> None:
        """Register what is missing, until cancelled."""
        while True:
            name = await self._queue.get()
            try:
                if name not in self.registered:
                    await self._restore(self.wanted[name])
                self._failures.pop(name, None)
            except errors.ApiError as error:
                delay_s = self._failures.setdefault(name, Backoff(cap_s=RETRY_CAP_S)).next_s()
                _log.warning("function not registered", function=name, error=str(error), retry_in_s=round(delay_s, 3))
                self._queue.add_after(name, delay_s)
            finally:
                self._queue.done(name)

    def _look_at(self, name: str) -> None:
        if name in self.registered:
            self._lost.discard(self.wanted[name].spec.name)
        else:
            self._queue.add(name)

    def _wake(self) -> None:
        for news in self._waiters:
            news.set()

    async def _restore(self, function: Function) -> None:
        name = function.spec.name
        try:
            written = await self._put(function, await self._fetch(function.metadata.name), take_over=False)
        except FunctionOwnedError as error:
            if name not in self._lost:
                self._lost.add(name)
                _log.warning("function lost: another worker group has taken it over", function=name, owner=error.owner)
            self._queue.add_after(function.metadata.name, LOST_LOOK_S)
        else:
            if written:
                _log.warning("function registered again: its object or its label was gone", function=name)

    # Compare and swap.

    async def _put(self, function: Function, stored: StoredFunction | None, *, take_over: bool) -> bool:
        """Write the Function unless it is as it should be; begin with what was seen of it, go on with what is there.

        Returns whether anything had to be written.
        """
        taken: StoredFunction | None = None
        while True:
            if stored is not None and not take_over:
                _check_owner(stored, function)
            if stored is not None and _is_same(stored, function):
                written = False
                break
            if stored is not None and stored.owner != self._group:
                taken = stored
            if await self._swap(function, stored):
                written = True
                break
            stored = await self._fetch(function.metadata.name)
        if taken is not None:
            self._say_taken_over(function.spec.name, taken)
        return written

    async def _swap(self, function: Function, stored: StoredFunction | None) -> bool:
        """Write the Function if it is still what was seen of it; False if not."""
        try:
            if stored is None:
                request = requests.create(requests.FUNCTIONS, self._namespace, function)
                await self._transport.send(request, repeatable=True)
            else:
                name = function.metadata.name
                request = requests.replace(requests.FUNCTIONS, self._namespace, name, _replacement(stored, function))
                await self._transport.send(request)
        except (errors.AlreadyExists, errors.Conflict):
            return False
        except errors.NotFound:
            if stored is None:
                raise  # not the object is missing, but its namespace or its kind
            return False
        return True

    async def _fetch(self, name: str) -> StoredFunction | None:
        return await read_function(self._transport, namespace=self._namespace, name=name)

    def _say_taken_over(self, name: str, taken: StoredFunction) -> None:
        owner = taken.owner
        _log.warning("function taken over", function=name, owner=owner)
        self._events.record(
            ObjectReference(
                api_version=labels.API_VERSION,
                kind="Function",
                namespace=self._namespace,
                name=taken.metadata.name,
                uid=taken.metadata.uid,
            ),
            "Warning",
            TAKEN_OVER,
            f"worker group {self._group} has taken function {name} over from worker group {owner}",
        )


def build_function(description: FunctionDescription, *, group: str) -> Function:
    """Return the object for one function of the app."""
    return Function(
        metadata=ObjectMeta(
            name=dns_name(description.name),
            labels={labels.WORKER_GROUP: group},
            annotations={labels.HIDDEN: "true"} if description.hidden else {},
        ),
        spec=FunctionSpec(
            name=description.name,
            worker_group=group,
            description=description.description,
            arguments=msgspec.Raw(description.arguments_schema) if description.arguments_schema else msgspec.UNSET,
            result=msgspec.Raw(description.result_schema) if description.result_schema else msgspec.UNSET,
            defaults=(
                msgspec.json.decode(description.defaults, type=ExecutionDefaults) if description.defaults else None
            ),
            concurrency=FunctionConcurrency(limit=description.limit) if description.limit else None,
        ),
    )


def _check_owner(stored: StoredFunction, function: Function) -> None:
    owner, group = stored.owner, function.spec.worker_group
    if owner != group:
        raise FunctionOwnedError(function=function.spec.name, owner=owner or "(unreadable)", group=group)


def _replacement(stored: StoredFunction, function: Function) -> Function:
    meta = msgspec.structs.replace(
        stored.metadata,
        labels={**stored.metadata.labels, **function.metadata.labels},
        annotations=_annotations(stored, function),
    )
    return msgspec.structs.replace(function, metadata=meta)


def _annotations(stored: StoredFunction, function: Function) -> dict[str, str]:
    kept = {key: value for key, value in stored.metadata.annotations.items() if key != labels.HIDDEN}
    return {**kept, **function.metadata.annotations}


def _is_same(stored: StoredFunction, wanted: Function) -> bool:
    return (
        stored.says(wanted.spec)
        and wanted.metadata.labels.items() <= stored.metadata.labels.items()
        and _annotations(stored, wanted) == stored.metadata.annotations
    )
