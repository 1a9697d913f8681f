"""Internal. Lists a group's Leases, for who must know how they are now: a watch may be late.

Each list goes into a book of its own, so that who looks again and again sees for how long a Lease has been silent.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import Lease, ObjectList
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.clock import Clock
from kontinue_engine.sharding.lease_book import LeaseBook, Shard

_decode: Final = msgspec.json.Decoder(ObjectList[Lease]).decode


class LeaseList:
    """Leases that replicas of one group hold, as often as they are asked for.

    Args:
        transport: to the API server.
        namespace: of the group.
        group: worker group.
        clock: monotonic time of each sighting.
    """

    def __init__(self, transport: Transport, *, namespace: str, group: str, clock: Clock) -> None:
        self.book = LeaseBook(group)
        self._transport = transport
        self._clock = clock
        self._request = requests.list_objects(
            requests.LEASES, namespace, label_selector=f"{labels.WORKER_GROUP}={group},!{labels.MUTEX}"
        )

    async def fetch_shards(self) -> list[Shard]:
        """Bring ``book`` up to date, and return the shards in it.

        Raises:
            ApiError: the server refuses, or one of them cannot be read: who knows what it holds.
        """
        try:
            found = _decode(await self._transport.send(self._request))
        except msgspec.MsgspecError as error:
            raise errors.Unavailable(f"Leases of the worker group cannot be read: {error}") from error
        now_s = self._clock.monotonic_s()
        self.book.replace(found.items, now_s)
        return self.book.shards(now_s)
