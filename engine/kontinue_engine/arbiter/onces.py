"""Internal. Looks after Onces: their tries as all locks, and the end of those that were done for their ttl.

Built by ``process``.
"""

from __future__ import annotations

from datetime import datetime

from kontinue.api.konductor.onces import ONCES, Once
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue_engine.arbiter.locks import LockController
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

    def lasting(self, found: Once, now: datetime) -> tuple[Once, datetime | None]:
        """Return a Once that says since when its ttl counts, and when that is over."""
        return onces.lasting(found, now=now)
