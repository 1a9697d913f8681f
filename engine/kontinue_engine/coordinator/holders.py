"""Internal. Asks the API server who holds a shard, because a watch of Leases may be late. Used by the leader's duties.

Why the answer proves something, if it is asked for *after* what it is asked about was read: an incarnation names itself
as the owner of an Execution only while it holds its Lease, and does not take it a second time after that. So if the
Lease of an owner that was read before names somebody else, or nobody, that owner has had the Lease and has lost it:
its runners were stopped before it gave the Lease back, or others could take it. Asked before, it may just not have
taken it yet.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.meta import Lease
from kontinue.api.v1alpha1 import ExecutionOwner
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.sharding import leases

_decode: Final = msgspec.json.Decoder(Lease).decode


class Holders:
    """Leases of one group, each asked for once. Build one after reading what it is asked about; do not keep it.

    Args:
        transport: to the API server.
        namespace: of the group.
        group: worker group.
        is_sharded: whether it is; all that any other group runs is run by whoever leads it.
    """

    def __init__(self, transport: Transport, namespace: str, group: str, *, is_sharded: bool) -> None:
        self._transport = transport
        self._namespace = namespace
        self._group = group
        self._is_sharded = is_sharded
        self._answers: dict[str, Lease | None] = {}

    async def find(self, shard: str) -> Lease | None:
        """Return the Lease under which the Executions of a shard run; None if there is none.

        Raises:
            ApiError: the server does not answer, or with something else.
        """
        group = self._group
        name = leases.shard_lease_name(group, shard) if self._is_sharded else leases.leader_lease_name(group)
        if name not in self._answers:
            self._answers[name] = await self._fetch(name)
        return self._answers[name]

    async def is_held(self, shard: str) -> bool:
        """Tell whether somebody has a shard.

        Raises:
            ApiError: the server does not answer, or with something else.
        """
        lease = await self.find(shard)
        return lease is not None and bool(lease.spec.holder_identity)

    async def find_dead(self, shard: str) -> str:
        """Return the incarnation from which a shard was taken away; empty if its last holder gave it back.

        Raises:
            ApiError: the server does not answer, or with something else.
        """
        lease = await self.find(shard)
        if lease is None or lease.spec.holder_identity or not leases.was_expired(lease):
            return ""
        return leases.holder_of(lease).incarnation

    async def is_gone(self, owner: ExecutionOwner) -> bool:
        """Tell whether an owner that was read before has certainly lost its Lease.

        A Lease that is not there proves nothing: somebody may have deleted it under a holder that does not know yet.

        Raises:
            ApiError: the server does not answer, or with something else.
        """
        lease = await self.find(owner.shard)
        if lease is None:
            return False
        return not lease.spec.holder_identity or leases.holder_of(lease).incarnation != owner.incarnation

    async def _fetch(self, name: str) -> Lease | None:
        try:
            return _decode(await self._transport.send(requests.get(requests.LEASES, self._namespace, name)))
        except errors.NotFound:
            return None
        except msgspec.MsgspecError as error:
            raise errors.Unavailable(f"Lease {self._namespace}/{name} cannot be read: {error}") from error
