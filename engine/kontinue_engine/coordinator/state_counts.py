"""Internal. How many Executions of the group there are by phase, for Prometheus. A duty of the leader.

By a list, as what has ended is in nobody's memory: every 30 s at most, less often where that takes long, and only if
somebody has asked for the metrics since. What is shown is as old as that. Built by ``worker.leadership``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ListMeta
from kontinue.api.v1alpha1 import Phase
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.telemetry.metrics import ExecutionMetrics

INTERVAL_S: Final = 30.0
PAGE: Final = 50
"""Executions at a time: whole ones, as metadata tell no phase; at most some 75 MiB, if each were as large as it may be.
Judgement."""
SHARE: Final = 20
"""A list that took a second is followed by so many without one. Judgement: 5 % of one request slot."""

_log = get_logger(__name__)


class _Spec(msgspec.Struct, frozen=True):
    function: str = ""


class _Status(msgspec.Struct, frozen=True):
    phase: str | None = None


class _Seen(msgspec.Struct, frozen=True):
    spec: _Spec = _Spec()
    status: _Status = _Status()


class _Page(msgspec.Struct, frozen=True):
    metadata: ListMeta
    items: list[_Seen]


_decode = msgspec.json.Decoder(_Page).decode


class StateCounts:
    """Lists and counts.

    Args:
        transport: to the API server.
        metrics: where counts go, and whether anybody has asked.
        namespace: of the group.
        group: worker group.
        clock: how long a list takes.
    """

    def __init__(
        self, transport: Transport, metrics: ExecutionMetrics, *, namespace: str, group: str, clock: Clock
    ) -> None:
        self._transport = transport
        self._metrics = metrics
        self._namespace = namespace
        self._group = group
        self._clock = clock

    async def run(self) -> None:
        """Count until cancelled; then another replica does."""
        try:
            while True:
                await self._metrics.was_asked.wait()
                self._metrics.was_asked.clear()
                began_s = self._clock.monotonic_s()
                try:
                    self._metrics.states = await self._count()
                except (errors.ApiError, msgspec.MsgspecError) as error:
                    _log.warning("states not counted", error=str(error))
                await asyncio.sleep(max(INTERVAL_S, (self._clock.monotonic_s() - began_s) * SHARE))
        finally:
            self._metrics.states = None

    async def _count(self) -> Counter[tuple[str, str]]:
        counts: Counter[tuple[str, str]] = Counter()
        token = ""
        while True:
            request = requests.list_objects(
                requests.EXECUTIONS,
                self._namespace,
                label_selector=f"{labels.WORKER_GROUP}={self._group}",
                limit=PAGE,
                continue_token=token,
            )
            page = _decode(await self._transport.send(request))
            counts.update(
                (self._metrics.label_of(one.spec.function), one.status.phase or Phase.PENDING.value)
                for one in page.items
            )
            token = page.metadata.continue_
            if not token:
                return counts
