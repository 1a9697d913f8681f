"""What one client does in a round: everything at once, each as somebody would who may be killed and start again.

Operations that count have ids of the client's, so that a second life repeats them; what is held is bound to its Pod or
has a ttl, so that a death gives it back; who arrives does so under a name that stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import timedelta
from random import Random

from kontinue import errors
from kontinue.client import Client
from kontinue.sync import (
    Barrier,
    Gate,
    HeldPermit,
    Holder,
    HolderKind,
    Lease,
    Lock,
    Mutex,
    Once,
    RWMutex,
    Semaphore,
    WaitGroup,
)
from primitives_chaos.book import Book, Event
from primitives_chaos.orders import Episode

DONES = 6
"""Of each client. With those of all others less than a WaitGroup remembers: a second life repeats them all."""
BOUND = 2
TURNS = 2
TTL = timedelta(seconds=4)
"""Of locks that no Pod stands for: their holder's death is seen so late."""
LATE_S = TTL.total_seconds()
"""While the API server starts again a process may get no time; so long after its ttl it must have found its loss."""


async def play(client: Client, book: Book, who: str, order: Episode) -> list[str]:
    """Play one client's part of a round; return what must not be."""
    part = Part(client, book, who, order)
    work = [part.count, part.count_bound, part.lock, part.lease, part.read_and_write]
    work += [part.do_once, part.take_permits, part.arrive]
    waits = (part.wait(), part.go_through())
    outcomes = await asyncio.gather(*waits, *(one() for one in work), return_exceptions=True)
    return [f"{who}: {one!r}" for one in outcomes if isinstance(one, BaseException)]


class Part:
    """One client's part; see ``play`` for the arguments."""

    def __init__(self, client: Client, book: Book, who: str, order: Episode) -> None:
        self._client = client
        self._book = book
        self._who = who
        self._rng = Random(f"{order.seed} {who}")
        self._suffix = order.suffix
        self._pod = Holder(kind=HolderKind.POD, name=order.pod, uid=order.pod_uid)

    async def count(self) -> None:
        """Be done several times, each time once although it may be said twice."""
        group = WaitGroup(f"jobs-{self._suffix}", self._client)
        for number in range(DONES):
            await self._pause()
            operation = f"{self._who}-{number}"
            self._book.write(Event.MEANS_TO, f"waitgroup/{group.name}", id=operation)
            await _until_known(lambda operation=operation: group.done(operation_id=operation))

    async def count_bound(self) -> None:
        """Add and be done for our Pod: with its end the rest is released."""
        group = WaitGroup(f"bound-{self._suffix}", self._client)
        uid = self._pod.uid
        await _until_known(lambda: group.add(BOUND, holder=self._pod, operation_id=f"add-{uid}"))
        for number in range(BOUND):
            await self._pause()
            operation = f"done-{number}-{uid}"
            await _until_known(lambda operation=operation: group.done(holder=self._pod, operation_id=operation))

    async def wait(self) -> None:
        """Wait for everybody's work."""
        group = WaitGroup(f"jobs-{self._suffix}", self._client)
        await group.wait()
        self._book.write(Event.OPENED, f"waitgroup/{group.name}")

    async def lock(self) -> None:
        """Hold a Mutex for a moment, by its ttl."""
        mutex = Mutex(f"deploy-{self._suffix}", self._client)
        for _ in range(TURNS):
            await self._pause()
            await self._inside(f"mutex/{mutex.name}", lambda: mutex.held(ttl=TTL, holder=self._who))

    async def lease(self) -> None:
        """Hold a Lease, for our Pod and by its ttl."""
        lease = Lease(f"leader-{self._suffix}", self._client)
        for _ in range(TURNS):
            await self._pause()
            await self._inside(f"lease/{lease.name}", lambda: lease.held(ttl=TTL, holder=self._pod))

    async def read_and_write(self) -> None:
        """Read several times and write once, for our Pod."""
        mutex = RWMutex(f"catalog-{self._suffix}", self._client)
        writes = self._rng.randrange(TURNS + 1)
        for number in range(TURNS + 1):
            await self._pause()
            held = mutex.held if number == writes else mutex.reading
            await self._inside(
                f"rwmutex/{mutex.name}", lambda held=held: held(holder=self._pod), is_shared=number != writes
            )

    async def do_once(self) -> None:
        """Do it, unless somebody else has."""
        once = Once(f"migrate-{self._suffix}", self._client)
        try:
            await self._inside(f"once/{once.name}", lambda: once.running(lease=TTL, holder=self._who))
        except errors.AlreadyExecuted:
            return

    async def take_permits(self) -> None:
        """Hold a permit for our Pod, which is never lost, and one that also has a ttl."""
        semaphore = Semaphore(f"db-{self._suffix}", self._client)
        subject = f"semaphore/{semaphore.name}"
        await self._pause()
        async with semaphore.hold(holder=self._who, bound_to=self._pod) as held:
            await self._enter(subject, held)
            self._book.write(Event.LEFT, subject, id=id_of(held))
        await self._pause()
        await self._inside(subject, lambda: semaphore.hold(holder=self._who, ttl=TTL, bound_to=self._pod))

    async def arrive(self) -> None:
        """Arrive, under the same name in each life, and go on with the others."""
        barrier = Barrier(f"start-{self._suffix}", self._client)
        subject = f"barrier/{barrier.name}"
        await self._pause()
        self._book.write(Event.MEANS_TO, subject, id=self._who)
        await barrier.arrive(self._who)
        await barrier.wait()
        self._book.write(Event.OPENED, subject)

    async def go_through(self) -> None:
        """Wait until the work is done and the others have arrived."""
        gate = Gate(f"go-{self._suffix}", self._client)
        await gate.wait()
        self._book.write(Event.OPENED, f"gate/{gate.name}")

    async def _inside(
        self,
        subject: str,
        scope: Callable[[], AbstractAsyncContextManager[Lock | HeldPermit]],
        *,
        is_shared: bool = False,
    ) -> None:
        """Be inside once, from the beginning to the end: who has lost it tries again."""
        while True:
            held: Lock | HeldPermit | None = None
            try:
                async with scope() as held:
                    with self._told_of_loss(subject, held):
                        await self._enter(subject, held, is_shared=is_shared)
                        self._book.write(Event.LEFT, subject, id=id_of(held))
                return
            except errors.LockLost:
                if held is not None:
                    self._book.write(Event.LOST, subject, id=id_of(held))

    @contextmanager
    def _told_of_loss(self, subject: str, held: Lock | HeldPermit) -> Iterator[None]:
        """Write it as soon as the body is cancelled: before what is lost is given back, which may take seconds."""
        try:
            yield
        except asyncio.CancelledError:
            if held.is_lost:
                self._book.write(Event.LOST, subject, id=id_of(held))
            raise

    async def _enter(self, subject: str, held: Lock | HeldPermit, *, is_shared: bool = False) -> None:
        token = held.token if isinstance(held, Lock) else 0
        self._book.write(Event.ENTERED, subject, id=id_of(held), token=token, is_shared=is_shared)
        await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(self._rng.uniform(0, 0.06))


def id_of(held: Lock | HeldPermit) -> str:
    """Return what tells a holding from all others."""
    return held.id if isinstance(held, Lock) else held.name


async def _until_known(operation: Callable[[], Awaitable[int]]) -> None:
    """Repeat an operation that has an id, until it is known to have counted."""
    while True:
        try:
            await operation()
        except errors.Unavailable:
            continue
        return
