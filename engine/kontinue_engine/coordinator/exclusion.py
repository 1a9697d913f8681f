"""Internal. Keeps replicas with ``--sharding`` and replicas without from running one group at the same time.

Who has no ``--sharding`` runs all of the group while it leads; who has it runs what its shard's label says. Each is a
rival of the other kind, and shows itself by the Lease that it holds. As in mutual exclusion with two flags, each takes
its own Lease first and then lists those of its rivals: of two that write and then read, at least one reads what the
other has written. It gives way unless the rival is dead, and then takes the rival's Lease away, so that a frozen one
cannot renew when it wakes. So never both go on, whatever the order. Both may give way; who has no ``--sharding`` then
waits longer, so that the other comes first. Called by ``worker.replica`` before anything of the group runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from kontinue import errors
from kontinue.api.meta import Lease
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.coordinator.lease_list import LeaseList
from kontinue_engine.kube.lease import POLL_S, HeldLease
from kontinue_engine.sharding import rivals, taking, views
from kontinue_engine.sharding.lease_book import Sighting
from kontinue_engine.sharding.leases import ReplicaIdentity, holder_of
from kontinue_engine.telemetry.logs import get_logger

YIELD_S: Final = 2 * POLL_S
"""Who has no ``--sharding`` and has given way looks again after this: a rival that gave way, too, is faster."""

_WAITING: Final = {
    False: "waiting for shards to end: this replica has no --sharding, and would run what they run",
    True: "waiting for the leader to end: it has no --sharding, and runs what this replica would run",
}

_log = get_logger(__name__)


class Exclusion:
    """Takes a replica's own Lease once no rival lives.

    Args:
        transport: to the API server.
        own: the Lease of the replica's shard; of leadership if it has no ``--sharding``.
        namespace: of the group.
        group: worker group.
        sharding: whether the replica has ``--sharding``.
        clock: monotonic time.
    """

    def __init__(
        self, transport: Transport, own: HeldLease, *, namespace: str, group: str, sharding: bool, clock: Clock
    ) -> None:
        self._transport = transport
        self._own = own
        self._namespace = namespace
        self._group = group
        self._sharding = sharding
        self._clock = clock
        self._leases = LeaseList(transport, namespace=namespace, group=group, clock=clock)
        self._told: list[str] = []

    async def acquire(self, *, waits: Callable[[ReplicaIdentity], bool], on_wait: Callable[[], None]) -> None:
        """Return with the own Lease, while no rival has one.

        Args:
            waits: see ``HeldLease.acquire``.
            on_wait: called whenever a rival is found to live.

        Raises:
            LeaseHeld: a replica of the same kind holds the Lease, and we do not wait for it.
            ApiError: the server refuses.
        """
        while True:
            while living := await self._fetch_living():
                on_wait()
                self._tell(living)
                await asyncio.sleep(POLL_S)
            await self._own.acquire(waits=waits)
            if await self._is_alone():
                return
            on_wait()
            _log.info("giving way: a rival has begun meanwhile", lease=self._own.name)
            await self._own.release()
            if not self._sharding:
                await asyncio.sleep(YIELD_S)

    async def _fetch_living(self) -> list[str]:
        return [holder_of(rival.lease).shard for rival in await self._fetch_rivals() if self._lives(rival)]

    async def _is_alone(self) -> bool:
        """Look again, now that rivals can see us, and take their Leases from those that are dead."""
        for rival in await self._fetch_rivals():
            if self._lives(rival) or not await self._expire(rival):
                return False
        return True

    async def _fetch_rivals(self) -> list[Sighting]:
        await self._leases.fetch_shards()
        return rivals.find(self._leases.book, self._group, now_s=self._clock.monotonic_s(), sharding=self._sharding)

    def _lives(self, rival: Sighting) -> bool:
        silent_for_s = self._clock.monotonic_s() - rival.changed_at_s
        return not isinstance(self._own.judge(rival.lease, silent_for_s=silent_for_s), taking.Take)

    async def _expire(self, rival: Sighting) -> bool:
        """Take the Lease from its holder; False if that one has renewed it after all."""
        if rival.is_missing:
            return True
        lease: Lease = views.expired(rival.lease, by=self._own.holder)
        try:
            await self._transport.send(requests.replace(requests.LEASES, self._namespace, lease.metadata.name, lease))
        except errors.Conflict:
            return False
        except errors.NotFound:
            return True
        _log.warning(
            "Lease taken away: its holder is dead", lease=lease.metadata.name, holder=holder_of(rival.lease).shard
        )
        return True

    def _tell(self, living: list[str]) -> None:
        if living != self._told:
            self._told = living
            _log.warning(_WAITING[self._sharding], holders=living)
