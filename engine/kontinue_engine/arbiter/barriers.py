"""Internal. Looks after Barriers: counts their Arrivals, opens them, and fails them when their time is over.

Before one is failed the API server is asked for its Arrivals: the watch may be late. Built by ``process``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kontinue.api.konductor.barriers import Arrival, Barrier, BarrierPhase
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.caretaker import INVALID_TIMEOUT, OPENED, TIMED_OUT
from kontinue_engine.arbiter.families import FamilyController, Kinds, settle_all
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.primitives import barriers

_KINDS: Final = Kinds(requests.BARRIERS, Barrier, requests.ARRIVALS, Arrival)


class _ArrivalList(msgspec.Struct, frozen=True):
    items: list[Arrival] | None = None


_decode_arrivals: Final = reader(_ArrivalList, what="list of Arrivals")


class BarrierController(FamilyController[Barrier, Arrival]):
    """Looks after the Barriers of a namespace, or of all; see ``FamilyController``."""

    def __init__(self, transport: Transport, *, namespace: str, events: EventRecorder, clock: Clock) -> None:
        super().__init__(transport, _KINDS, namespace=namespace, events=events, clock=clock)

    async def look_at(self, key: Key, parent: Barrier, children: Sequence[Arrival]) -> None:
        """Count, open, or fail."""
        now = self._clock.now()
        plan = barriers.decide(parent, children, are_all=False, now=now)
        if plan.needs_all:
            plan = barriers.decide(parent, await self._all(parent), are_all=True, now=now)
        if plan.bad_timeout and parent.status.phase is None:
            self.tell(parent, "Warning", INVALID_TIMEOUT, f"it never fails: {plan.bad_timeout}")
        if plan.status is not None:
            stored = await self.write(msgspec.structs.replace(parent, status=plan.status))
            if stored is not None and stored.status.phase is not parent.status.phase:
                self._tell_end(stored)
        await settle_all([self.write_child(one) for one in plan.recorded])
        if plan.look_again_at is not None:
            self._looks.again_in(key, (plan.look_again_at - now).total_seconds())

    async def _all(self, barrier: Barrier) -> Sequence[Arrival]:
        meta = barrier.metadata
        request = requests.list_objects(requests.ARRIVALS, meta.namespace, field_selector=f"spec.barrier={meta.name}")
        listed = _decode_arrivals(await self._transport.send(request)).items or ()
        return [one for one in listed if self._owner(one) in {"", meta.uid}]

    def _tell_end(self, barrier: Barrier) -> None:
        counted = f"{barrier.status.arrived} of {barrier.required} have arrived"
        if barrier.status.phase is BarrierPhase.OPEN:
            self.tell(barrier, "Normal", OPENED, counted)
        elif barrier.status.phase is BarrierPhase.FAILED:
            self.tell(barrier, "Warning", TIMED_OUT, f"{counted} within {barrier.spec.timeout}")
