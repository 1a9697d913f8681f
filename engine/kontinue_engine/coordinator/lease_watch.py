"""Internal. Keeps a ``LeaseBook`` up to date, and tells those who wait for news of a Lease, or hold one.

One per replica, handler of its watch of the group's Leases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kontinue.api.meta import Lease
from kontinue.kube.watch import EventType
from kontinue_engine.clock import Clock
from kontinue_engine.kube.lease import HeldLease
from kontinue_engine.sharding.lease_book import LeaseBook


class LeaseWatch:
    """Informer handler of the group's Leases.

    Args:
        book: brought up to date.
        clock: monotonic time of each sighting.
    """

    def __init__(self, book: LeaseBook, clock: Clock) -> None:
        self.book = book
        self._clock = clock
        self._waiters: set[asyncio.Event] = set()
        self._guarded: dict[str, HeldLease] = {}

    def on_list(self, objects: Sequence[Lease], *, initial: bool) -> None:
        """Take all Leases of the group."""
        del initial
        self.book.replace(objects, self._clock.monotonic_s())
        found = {lease.metadata.name: lease for lease in objects if lease.metadata.name in self._guarded}
        for name, held in self._guarded.items():
            held.seen(found.get(name))
        self._wake()

    def on_event(self, type: EventType, obj: Lease) -> None:  # noqa: A002 - the wire's word
        """Take one change."""
        if type == "DELETED":
            self.book.forget(obj.metadata.name)
        else:
            self.book.observe(obj, self._clock.monotonic_s())
        held = self._guarded.get(obj.metadata.name)
        if held is not None:
            held.seen(None if type == "DELETED" else obj)
        self._wake()

    @contextmanager
    def guarding(self, held: HeldLease) -> Iterator[None]:
        """Show a holder what becomes of its Lease, so that it need not wait for its next renewal to know."""
        self._guarded[held.name] = held
        try:
            yield
        finally:
            del self._guarded[held.name]

    def subscribe(self, news: asyncio.Event) -> None:
        """Set ``news`` at every change from now on."""
        self._waiters.add(news)

    def subscribed(self) -> asyncio.Event:
        """Return an event that is set at every change from now on."""
        news = asyncio.Event()
        self.subscribe(news)
        return news

    def unsubscribe(self, news: asyncio.Event) -> None:
        """Leave ``news`` alone."""
        self._waiters.discard(news)

    def _wake(self) -> None:
        for news in self._waiters:
            news.set()
