"""Internal. Writes Kubernetes Events, what ``kubectl describe`` prints at the end, without ever getting in the way.

``record`` only notes; ``run`` writes, one at a time. Equal Events that wait are counted together, and one that
repeats within ten minutes raises the count of the Event that exists. Of Executions that all fail at once a hundred get
an Event, then some each second; one Event on the replica's Lease, and the log, count the others. When too many wait,
new ones are dropped: Events tell people what happened, nothing depends on them.
Called by the controllers and the worker.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Event, EventSource, ObjectMeta, ObjectReference
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.sharding.assignment import Allowance
from kontinue_engine.telemetry.logs import get_logger

CAPACITY: Final = 1000
REMEMBERED: Final = 4096
"""Written Events whose repetition raises a count; kube's own recorder remembers as many."""
AGGREGATION_S: Final = 600.0
OF_EXECUTIONS_PER_S: Final = 5.0
OF_EXECUTIONS_AT_ONCE: Final = 100
"""Judgement: nobody reads more one by one, and each costs as much as the end of the Execution that it tells of."""
SUM_UP_S: Final = 10.0
"""What was left out is told so long after the first of it."""
MAX_NAME: Final = 253
"""Of any object; an Execution may use them all, and its Events add a suffix."""
MAX_MESSAGE: Final = 1024
"""kube-apiserver refuses longer messages."""
RETRY_S: Final = 30.0

_log = get_logger(__name__)


def execution_reference(namespace: str, name: str, uid: str) -> ObjectReference:
    """Return what an Event about an Execution names."""
    return ObjectReference(api_version=labels.API_VERSION, kind="Execution", namespace=namespace, name=name, uid=uid)


class _Key(msgspec.Struct, frozen=True):
    about: ObjectReference
    type: str
    reason: str
    message: str


class _Pending(msgspec.Struct):
    count: int
    first: datetime
    last: datetime


class _Written(msgspec.Struct):
    name: str
    count: int
    at_s: float


class EventRecorder:
    """Collects Events and writes them in the background.

    Args:
        transport: where to write.
        component: who reports, for example ``kontinue-worker``.
        instance: which one of them, for example the shard id.
        clock: for timestamps.
        home: about which object it is told how many Events were left out; None: only in the log.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        component: str,
        instance: str,
        clock: Clock,
        home: Callable[[], ObjectReference] | None = None,
    ) -> None:
        self._transport = transport
        self._home = home
        self._allowance = Allowance(OF_EXECUTIONS_PER_S, OF_EXECUTIONS_AT_ONCE)
        self._left_out: Counter[tuple[Literal["Normal", "Warning"], str]] = Counter()
        self._component = component
        self._instance = instance
        self._clock = clock
        self._pending: OrderedDict[_Key, _Pending] = OrderedDict()
        self._written: OrderedDict[_Key, _Written] = OrderedDict()
        self._wake = asyncio.Event()
        self._dropped = 0

    def record(
        self,
        about: ObjectReference,
        type: Literal["Normal", "Warning"],  # noqa: A002 - the API's word
        reason: str,
        message: str,
    ) -> None:
        """Note an Event about an object. Never blocks, never raises."""
        key = _Key(about, type, reason, message[:MAX_MESSAGE])
        now = self._clock.now()
        pending = self._pending.get(key)
        if pending is not None:
            pending.count += 1
            pending.last = now
            return
        if about.kind == "Execution" and not self._may_tell_one_more():
            self._leave_out(type, reason)
            return
        if len(self._pending) >= CAPACITY:
            self._dropped += 1
            if self._dropped == 1:
                _log.warning("too many events wait, dropping new ones", waiting=CAPACITY)
            return
        self._pending[key] = _Pending(1, now, now)
        self._wake.set()

    def _may_tell_one_more(self) -> bool:
        if self._allowance.available(self._clock.monotonic_s()) < 1:
            return False
        self._allowance.spend(1)
        return True

    def _leave_out(self, type_: Literal["Normal", "Warning"], reason: str) -> None:
        if not self._left_out:
            asyncio.get_running_loop().call_later(SUM_UP_S, self._sum_up)
        self._left_out[type_, reason] += 1

    def _sum_up(self) -> None:
        left_out, self._left_out = self._left_out, Counter()
        for (type_, reason), count in left_out.items():
            _log.warning("events left out", reason=reason, count=count)
            if self._home is not None:
                message = f"{count} more Events of this kind about Executions were left out: there were too many"
                self.record(self._home(), type_, reason, message)

    async def run(self) -> None:
        """Write Events until cancelled; what waits then is dropped."""
        while True:
            await self._wake.wait()
            while self._pending:
                key, pending = self._pending.popitem(last=False)
                try:
                    await self._write(key, pending)
                except errors.ApiError as error:
                    _log.warning("event not written", reason=key.reason, error=str(error))
            self._wake.clear()
            if self._dropped:
                _log.warning("events dropped", dropped=self._dropped)
                self._dropped = 0

    async def _write(self, key: _Key, pending: _Pending) -> None:
        now_s = self._clock.monotonic_s()
        written = self._written.get(key)
        if (
            written is not None
            and now_s - written.at_s < AGGREGATION_S
            and await self._raise_count(key, pending, written)
        ):
            written.at_s = now_s
            self._written.move_to_end(key)
            return
        suffix = uuid.uuid4().hex[:16]
        name = f"{key.about.name[: MAX_NAME - len(suffix) - 1].rstrip('-.')}.{suffix}"
        await self._create(key, pending, name)
        self._written[key] = _Written(name, pending.count, now_s)
        self._written.move_to_end(key)
        if len(self._written) > REMEMBERED:
            self._written.popitem(last=False)

    async def _raise_count(self, key: _Key, pending: _Pending, written: _Written) -> bool:
        """Add to the Event that exists; False when it is gone (Events live for an hour)."""
        count = written.count + pending.count
        patch = {"count": count, "lastTimestamp": pending.last.replace(microsecond=0)}
        request = requests.merge_patch(requests.EVENTS, key.about.namespace, written.name, patch)
        try:
            await self._transport.send(request, retry_for_s=RETRY_S)
        except errors.NotFound:
            return False
        written.count = count
        return True

    async def _create(self, key: _Key, pending: _Pending, name: str) -> None:
        event = Event(
            metadata=ObjectMeta(name=name, namespace=key.about.namespace),
            involved_object=key.about,
            reason=key.reason,
            message=key.message,
            type=key.type,
            count=pending.count,
            first_timestamp=pending.first.replace(microsecond=0),
            last_timestamp=pending.last.replace(microsecond=0),
            source=EventSource(component=self._component, host=self._instance),
            reporting_component=self._component,
            reporting_instance=self._instance,
        )
        request = requests.create(requests.EVENTS, key.about.namespace, event)
        try:
            # The name is ours alone, so a create whose answer got lost may be repeated.
            await self._transport.send(request, repeatable=True, retry_for_s=RETRY_S)
        except errors.AlreadyExists:
            return
