"""Internal. Looks after Leases: observes them and their LeaseRequests, carries out what ``primitives`` decides.

Each lock is timed from when it was first seen unchanged, as those of Mutexes are. Built by ``process``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kontinue.api.konductor.leases import Lease, LeasePhase, LeaseRequest, lease_locks
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.asked import AskedController
from kontinue_engine.arbiter.caretaker import EXPIRED
from kontinue_engine.arbiter.families import Kinds, settle_all
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.primitives import leases

_KINDS: Final = Kinds(requests.KONDUCTOR_LEASES, Lease, requests.LEASE_REQUESTS, LeaseRequest)


class LeaseController(AskedController[Lease, LeaseRequest]):
    """Looks after the Leases of a namespace, or of all; see ``FamilyController``."""

    def __init__(self, transport: Transport, *, namespace: str, events: EventRecorder, clock: Clock) -> None:
        super().__init__(transport, _KINDS, namespace=namespace, events=events, clock=clock)

    async def look_at(self, key: Key, parent: Lease, children: Sequence[LeaseRequest]) -> None:
        """Grant, end what was not renewed, and take back."""
        meta, held = parent.metadata, parent.status
        gone = await self.abandoned(children)
        is_absent = leases.is_unseen(parent, children) and await self.is_absent(
            meta.namespace, held.request, held.request_uid
        )
        now = self._clock.now()
        overdue = self.overdue(key, lease_locks(parent), now=now)
        plan = leases.decide(parent, children, gone=gone, is_absent=is_absent, overdue=overdue.marks, now=now)
        if plan.status is not None:
            stored = await self.write(msgspec.structs.replace(parent, status=plan.status))
            if stored is not None and plan.ended is LeasePhase.EXPIRED:
                message = f"{held.holder} has not renewed it within {held.ttl}: token {held.token} is over"
                self.tell(parent, "Warning", EXPIRED, message)
        deleted = await settle_all([self.end(parent, one, gone=gone) for one in plan.delete])
        writes = [self.write_child(one) for one in plan.requests]
        if plan.tell is not None and all(deleted):
            writes.append(self.write_child(plan.tell))
        await settle_all(writes)
        self.look_again(key, overdue, plan.look_again_at, now=now)
