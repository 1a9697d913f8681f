"""A store that several servers share, in memory: what a database behind several processes would have to be.

``SharedLog`` is the database: it assigns revisions one after the other and keeps the log. ``SharedStorage`` is what one
server has of it: its tail arrives in order, but late, and how late differs between servers and batches. A commit is
answered when the server's own tail has come that far.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence

from kontinue_engine.apiserver.storage.protocol import Change, RevisionMismatchError, Sink, Write


class SharedLog:
    """What is committed, in order of revision."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.compacted_rev = 0
        self.followers: list[Callable[[], None]] = []

    @property
    def rev(self) -> int:
        """Newest revision."""
        return max(self.compacted_rev, self.changes[-1].rev if self.changes else 0)

    def live_at(self, rev: int) -> dict[str, Change]:
        """Return what was live at ``rev``, by key."""
        live: dict[str, Change] = {}
        for change in self.changes:
            if change.rev > rev:
                break
            live.pop(change.key, None)
            if change.value is not None:
                live[change.key] = change
        return live

    def commit(self, writes: Sequence[Write]) -> list[Change]:
        """Commit all of them or raise RevisionMismatchError."""
        live = self.live_at(self.rev)
        for write in writes:
            actual = live[write.key].rev if write.key in live else 0
            if actual != write.expected_rev:
                raise RevisionMismatchError(write.key, actual)
        first = self.rev + 1
        # What a note refers to is in the memory of one process.
        made = [Change(first + n, write.key, write.value, write.expected_rev) for n, write in enumerate(writes)]
        self.changes += made
        for follow in self.followers:
            follow()
        return made

    def compact(self, rev: int) -> None:
        """Forget what was replaced or deleted up to ``rev``."""
        kept = self.live_at(rev)
        self.changes = [*kept.values(), *(change for change in self.changes if change.rev > rev)]
        self.compacted_rev = max(self.compacted_rev, rev)


class SharedStorage:
    """``Storage`` of one server on a SharedLog.

    Args:
        log: the database.
        lag_s: the longest that its tail is behind.
    """

    is_shared = True

    def __init__(self, log: SharedLog, *, lag_s: float = 0.0) -> None:
        self._log = log
        self._lag_s = lag_s
        self._shown_rev = 0
        self._sink: Sink = _drop
        self._news = asyncio.Event()
        self._shown = asyncio.Condition()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Future[object]] = set()

    def open(self) -> None:
        """Begin to follow the log."""
        self._log.followers.append(self._news.set)

    def list_at(self, rev: int) -> Iterable[Change]:
        """Return what was live at ``rev``."""
        return list(self._log.live_at(rev).values())

    def tail(self, after_rev: int, sink: Sink) -> None:
        """Give ``sink`` what came after ``after_rev``, now and from now on."""
        self._sink = sink
        self._shown_rev = after_rev
        self._show()
        self._keep(asyncio.ensure_future(self._follow()))

    def commit(self, writes: Sequence[Write]) -> asyncio.Future[list[int]]:
        """Commit; answered, or refused, once the own tail has come that far."""
        task = asyncio.ensure_future(self._commit(writes))
        self._keep(task)
        return task

    async def current_rev(self) -> int:
        """Ask the log."""
        await asyncio.sleep(0)
        return self._log.rev

    def compacted_rev(self) -> int:
        """Return the revision up to which history is forgotten."""
        return self._log.compacted_rev

    async def compact(self, rev: int) -> int:
        """Forget history up to ``rev``."""
        self._log.compact(min(rev, self._log.rev))
        return self._log.compacted_rev

    async def watch_over(self) -> None:
        """Wait for a fault of the tail."""
        await asyncio.shield(self._over)

    async def close(self) -> None:
        """Stop following."""
        if self._news.set in self._log.followers:
            self._log.followers.remove(self._news.set)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _commit(self, writes: Sequence[Write]) -> list[int]:
        await asyncio.sleep(random.uniform(0, self._lag_s))
        try:
            made = self._log.commit(writes)
        except RevisionMismatchError:
            await self._until(self._log.rev)
            raise
        await self._until(made[-1].rev)
        return [change.rev for change in made]

    async def _until(self, rev: int) -> None:
        async with self._shown:
            await self._shown.wait_for(lambda: self._shown_rev >= rev)

    async def _follow(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await asyncio.sleep(random.uniform(0, self._lag_s))
            try:
                self._show()
            except Exception as error:
                self._over.set_exception(error)
                raise
            async with self._shown:
                self._shown.notify_all()

    def _show(self) -> None:
        self._sink([change for change in self._log.changes if change.rev > self._shown_rev])
        self._shown_rev = self._log.rev

    def _keep(self, task: asyncio.Future[object]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _drop(_changes: Sequence[Change]) -> None:
    """Stand in for the sink until there is one."""
