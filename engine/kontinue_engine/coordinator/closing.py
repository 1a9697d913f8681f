"""Internal. Closes Executions that a client has canceled or skipped while no replica had them.

A cancel is terminal at once, so nobody claims such an Execution any more: its children in other shards or groups
would go on, and nobody would say that it has stopped. The leader looks for them when it sweeps a shard that nobody
has, and a replica when it takes its shard back. Level-based: what is closed carries the condition Stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import Phase
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.reflector import Reflector
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.kube import executions
from kontinue_engine.lifecycle.conditions import is_stopped, with_stopped
from kontinue_engine.lifecycle.ending import PARENT_ENDED_MESSAGE
from kontinue_engine.sharding.views import PlacedExecution
from kontinue_engine.telemetry.logs import get_logger

_log = get_logger(__name__)


class Closer:
    """Closes what has ended in one group.

    Args:
        transport: to the API server.
        namespace: of the group.
        group: worker group.
        clock: wall time.
        is_live: tells whether a replica of that incarnation lives: what it has ended, it closes itself.
    """

    def __init__(
        self, transport: Transport, *, namespace: str, group: str, clock: Clock, is_live: Callable[[str], bool]
    ) -> None:
        self._transport = transport
        self._namespace = namespace
        self._group = group
        self._clock = clock
        self._is_live = is_live

    async def run(self, shard: str) -> None:
        """Close what was ended before the replica of this shard came back; tried again until it is done.

        A group that is not sharded has one shard, without a name.
        """
        backoff = Backoff()
        while True:
            try:
                await self.close(shard)
            except errors.ApiError as error:
                _log.warning("not closed", shard=shard, error=str(error))
                await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))
            else:
                return

    async def close(self, shard: str) -> None:
        """Close what was ended from outside in a shard whose replica is gone; its code runs no more.

        Raises:
            ApiError: the server refuses; the next sweep tries again.
        """
        selector = f"{labels.WORKER_GROUP}={self._group}" + (f",{labels.SHARD}={shard}" if shard else "")
        for phase in (Phase.CANCELED, Phase.SKIPPED):
            ended = Reflector(
                self._transport,
                requests.EXECUTIONS,
                self._namespace,
                type_=PlacedExecution,
                label_selector=selector,
                field_selector=f"status.phase={phase}",
            )
            for execution in (await ended.fetch()).objects:
                if not is_stopped(execution.status.conditions):
                    await self._try_to_close(execution)

    async def _try_to_close(self, ended: PlacedExecution) -> None:
        try:
            await self._close(ended)
        except executions.UnreadableError as error:
            _log.error("not closed", execution=ended.metadata.name, uid=ended.metadata.uid, error=str(error))

    async def _close(self, ended: PlacedExecution) -> None:
        name, uid = ended.metadata.name, ended.metadata.uid
        if ended.status.owner is not None and self._is_live(ended.status.owner.incarnation):
            return
        await executions.cancel_children(
            self._transport, namespace=self._namespace, name=name, uid=uid, message=PARENT_ENDED_MESSAGE
        )
        execution = await executions.read_execution(self._transport, namespace=self._namespace, name=name)
        if execution is None or execution.metadata.uid != uid or not execution.phase.is_terminal:
            return
        if execution.status.owner is not None and self._is_live(execution.status.owner.incarnation):
            return
        stopped = with_stopped(execution.status.conditions, execution.phase, self._clock.now_ms())
        await executions.write_status(
            self._transport,
            namespace=self._namespace,
            name=name,
            uid=uid,
            version=execution.metadata.resource_version,
            status=msgspec.structs.replace(execution.status, waiting_for=[], conditions=stopped),
        )
        _log.info("closed", execution=name, uid=uid, phase=execution.phase.value)
