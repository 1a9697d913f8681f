"""Internal. Looks after Onces: their tries as all locks, and the end of those that were done for their ttl.

Built by ``process``.
"""

from __future__ import annotations

from kontinue.api.konductor.onces import ONCES, Once
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.caretaker import EXPIRED
from kontinue_engine.arbiter.locks import LockController
from kontinue_engine.arbiter.looks import Key
from kontinue_engine.clock import Clock
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.primitives import onces


class OnceController(LockController[Once]):
    """Looks after the Onces of a namespace, or of all.

    Args:
        transport: to the API server.
        namespace: where; empty for everywhere.
        events: tells people.
        clock: wall time.
    """

    def __init__(self, transport: Transport, *, namespace: str, events: EventRecorder, clock: Clock) -> None:
        super().__init__(transport, requests.ONCES, ONCES, namespace=namespace, events=events, clock=clock)

    async def look_at(self, key: Key, found: Once) -> float | None:
        """Release what has ended, and delete what was done for its ttl."""
        ends_at, now = onces.ends_at(found), self._clock.now()
        if ends_at is None:
            return await super().look_at(key, found)
        if now < ends_at:
            return (ends_at - now).total_seconds()
        await self.delete(found)
        self.tell(found, "Normal", EXPIRED, f"deleted: it was Executed for {found.spec.ttl}")
        return None
