"""Internal. Keeps a replica without sharding from running what living shards still run.

Such a replica runs all Executions of its group as soon as it leads, whatever their labels say. So before it leads it
waits until no shard of the group has a living holder: a group that is switched from sharding to none, or a worker that
was started without the option by mistake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.coordinator.lease_list import LeaseList
from kontinue_engine.kube.lease import POLL_S, HeldLease
from kontinue_engine.sharding import taking
from kontinue_engine.sharding.lease_book import ShardState
from kontinue_engine.telemetry.logs import get_logger

_log = get_logger(__name__)


class EndOfSharding:
    """Looks at the group's shards until none lives.

    Args:
        transport: to the API server.
        namespace: of the group.
        group: worker group.
        own: the Lease of leadership, which tells whose processes can be seen from here.
        clock: monotonic time.
    """

    def __init__(self, transport: Transport, *, namespace: str, group: str, own: HeldLease, clock: Clock) -> None:
        self._group = group
        self._own = own
        self._leases = LeaseList(transport, namespace=namespace, group=group, clock=clock)
        self._told: list[str] = []

    async def wait(self, *, on_wait: Callable[[], None]) -> None:
        """Return once no shard lives.

        Args:
            on_wait: called when one does.

        Raises:
            ApiError: the server refuses.
        """
        while living := await self.living():
            on_wait()
            if living != self._told:
                self._told = living
                _log.warning(
                    "waiting for shards to end: this replica has no --sharding, and would run what they run",
                    group=self._group,
                    shards=living,
                )
            await asyncio.sleep(POLL_S)

    async def living(self) -> list[str]:
        """Return the shards whose holders live, as far as can be told.

        Raises:
            ApiError: the server refuses.
        """
        return [
            shard.name
            for shard in await self._leases.fetch_shards()
            if shard.state in {ShardState.LIVE, ShardState.DRAINING, ShardState.MISSING}
            and not isinstance(self._own.judge(shard.lease, silent_for_s=shard.silent_for_s), taking.Take)
        ]
