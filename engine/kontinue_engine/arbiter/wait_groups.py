"""Internal. Looks after WaitGroups: observes them and their holders, and carries out what ``primitives`` decides.

Built by ``process``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from kontinue.api.konductor import counting
from kontinue.api.konductor.group import Holder
from kontinue.api.konductor.wait_groups import WaitGroup, WaitGroupHolder
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.caretaker import EXPIRED, HOLDER_GONE
from kontinue_engine.arbiter.held import HeldCaretaker
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.primitives import wait_groups
from kontinue_engine.telemetry.logs import get_logger

INVALID_TTL: Final = "InvalidTTL"

_log = get_logger(__name__)


class WaitGroupController(HeldCaretaker[WaitGroup]):
    """Looks after the WaitGroups of a namespace, or of all.

    Args:
        transport: to the API server.
        namespace: where; empty for everywhere.
        events: tells people.
        clock: wall time.
    """

    def __init__(self, transport: Transport, *, namespace: str, events: EventRecorder, clock: Clock) -> None:
        super().__init__(transport, requests.WAIT_GROUPS, WaitGroup, namespace=namespace, events=events, clock=clock)
        self._told_ttl: dict[Key, str] = {}

    def holders_of(self, found: WaitGroup) -> Iterable[Holder]:
        """Return those who hold a part of the counter."""
        return found.status.holders

    def forgotten(self, key: Key) -> None:
        """Forget what people were told about it."""
        self._told_ttl.pop(key, None)

    async def look_at(self, key: Key, found: WaitGroup) -> float | None:
        """Release what was held by who has ended, and delete what has been done for its ttl."""
        now = self._clock.now()
        plan = wait_groups.decide(found, gone=await self.gone(found), now=now)
        if plan.bad_ttl and self._told_ttl.get(key) != found.spec.ttl:
            self._told_ttl[key] = found.spec.ttl
            self.tell(found, "Warning", INVALID_TTL, f"it is kept: {plan.bad_ttl}")
        if plan.delete:
            await self.delete(found)
            self.tell(found, "Normal", EXPIRED, f"deleted: it was Done for {found.spec.ttl}")
        if plan.status is not None:
            await self.send_status(msgspec.structs.replace(found, status=counting.numbered(plan.status)))
            self._tell_released(found, plan.released)
        return None if plan.look_again_at is None else (plan.look_again_at - now).total_seconds()

    def _tell_released(self, found: WaitGroup, released: Sequence[WaitGroupHolder]) -> None:
        for one in released:
            _log.info("holder gone", wait_group=found.metadata.name, holder=str(one), count=one.count)
            self.tell(
                found, "Warning", HOLDER_GONE, f"{one} has ended without being done: its {one.count} are released"
            )
