"""Internal. Deletes the group's Functions that its code no longer has. A duty of the leader, built by ``worker``.

Only while every replica of the group runs the leader's build: during a rolling update the others still have them, and
new replicas have registered what the leader does not know yet. A replica has its Lease before it registers anything,
so Leases that are read after a Function name whoever has written it. Level-based: looked at anew whenever Functions or
Leases change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, ObjectReference
from kontinue.api.v1alpha1 import Function
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.coordinator.lease_list import LeaseList
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.kube.functions import StoredFunction, read_function
from kontinue_engine.kube.waiting import until_set
from kontinue_engine.sharding.builds import of_other_builds
from kontinue_engine.telemetry.logs import get_logger

RETRY_CAP_S: Final = 60.0
"""Longest delay between two tries. Judgement: what fails is mostly a permission."""
PRUNED: Final = "FunctionPruned"
"""Reason of the Event."""

_log = get_logger(__name__)


class Registrations(Protocol):
    """What this replica knows of its group's Functions."""

    @property
    def registered(self) -> Mapping[str, ObjectMeta]:
        """All of them, by object name."""
        ...

    @property
    def wanted(self) -> Mapping[str, Function]:
        """Those of the app, by object name."""
        ...

    def subscribe(self, news: asyncio.Event) -> None:
        """Set ``news`` whenever ``registered`` changes from now on."""
        ...

    def unsubscribe(self, news: asyncio.Event) -> None:
        """Leave ``news`` alone."""
        ...


class PruningDuty:
    """Keeps the list of the group's Functions equal to its code.

    Args:
        transport: to the API server.
        events: where deletions are told.
        namespace: of the group.
        group: worker group.
        build: of the leader.
        functions: of the group and of the leader's app.
        watch: of the group's Leases.
        clock: time.
    """

    def __init__(
        self,
        transport: Transport,
        events: EventRecorder,
        *,
        namespace: str,
        group: str,
        build: str,
        functions: Registrations,
        watch: LeaseWatch,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._events = events
        self._namespace = namespace
        self._group = group
        self._build = build
        self._functions = functions
        self._watch = watch
        self._leases = LeaseList(transport, namespace=namespace, group=group, clock=clock)
        self._clock = clock
        self._backoff = Backoff(cap_s=RETRY_CAP_S)
        self._waits_for: list[str] = []

    async def run(self) -> None:
        """Prune until cancelled."""
        news = asyncio.Event()
        self._functions.subscribe(news)
        self._watch.subscribe(news)
        try:
            while True:
                news.clear()
                delay_s = await self._try()
                await until_set(news, delay_s)
        finally:
            self._functions.unsubscribe(news)
            self._watch.unsubscribe(news)

    async def _try(self) -> float | None:
        """Prune what may be pruned now; return when to try again if that fails, None for at the next change."""
        superfluous = sorted(self._functions.registered.keys() - self._functions.wanted.keys())
        try:
            if superfluous and self._may_prune(superfluous):
                await self._prune(superfluous)
        except errors.ApiError as error:
            delay_s = self._backoff.next_s()
            _log.warning("functions not pruned", error=str(error), retry_in_s=round(delay_s, 3))
            return delay_s
        self._backoff.reset()
        return None

    def _may_prune(self, superfluous: list[str]) -> bool:
        others = of_other_builds(self._watch.book.shards(self._clock.monotonic_s()), self._build)
        if others and others != self._waits_for:
            _log.info("functions not pruned yet: replicas run other code", functions=superfluous, shards=others)
        self._waits_for = others
        return not others

    async def _prune(self, names: Sequence[str]) -> None:
        found = [function for name in names if (function := await self._read(name)) is not None]
        if of_other_builds(await self._leases.fetch_shards(), self._build):
            return  # the watch is about to show it, too
        for function in found:
            await self._delete(function)

    async def _read(self, name: str) -> StoredFunction | None:
        """Return the Function; None if it is gone, or going, or another group's whose label has been edited."""
        function = await read_function(self._transport, namespace=self._namespace, name=name)
        if function is None or function.owner != self._group or function.metadata.deletion_timestamp is not None:
            return None
        return function

    async def _delete(self, function: StoredFunction) -> None:
        meta, name = function.metadata, function.name
        request = requests.delete(
            requests.FUNCTIONS, self._namespace, meta.name, uid=meta.uid, resource_version=meta.resource_version
        )
        try:
            await self._transport.send(request)
        except (errors.Conflict, errors.NotFound):
            return  # it has changed: the watch shows how
        _log.info("function pruned: the app no longer has it", function=name)
        about = ObjectReference(
            api_version=labels.API_VERSION, kind="Function", namespace=self._namespace, name=meta.name, uid=meta.uid
        )
        self._events.record(about, "Normal", PRUNED, f"worker group {self._group} no longer has function {name}")
