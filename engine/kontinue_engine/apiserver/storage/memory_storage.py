"""Internal. A store that keeps nothing: everything is in memory, and every commit is made at once, without a thread.

For ``kontinue_engine.testing``, where the order of things must not depend on threads, and nothing outlives the process.
It promises what ``kontinue_engine.apiserver.storage.protocol`` says, durability aside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from kontinue_engine.apiserver.storage.protocol import Change, RevisionMismatchError, Sink, Write


class MemoryStorage:
    """``Storage`` in memory, of one process alone."""

    is_shared = False

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop  # from open() on
        self._log: list[Change] = []
        self._revs: dict[str, int] = {}
        self._sink: Sink = _drop
        self._current_rev = 0
        self._compacted_rev = 0
        self._broken: asyncio.Future[None]

    def open(self) -> None:
        """Begin."""
        self._loop = asyncio.get_running_loop()
        self._broken = self._loop.create_future()

    def list_at(self, rev: int) -> Iterable[Change]:
        """Return what was live at ``rev``, in order of revision."""
        live: dict[str, Change] = {}
        for change in self._log:
            if change.rev > rev:
                break
            if change.value is None:
                live.pop(change.key, None)
            else:
                live[change.key] = change
        return sorted(live.values(), key=lambda change: change.rev)

    def tail(self, after_rev: int, sink: Sink) -> None:
        """Give ``sink`` the kept changes after ``after_rev`` at once, then each one as it is committed."""
        kept = [change for change in self._log if change.rev > after_rev]
        if kept:
            sink(kept)
        self._sink = sink

    def commit(self, writes: Sequence[Write]) -> asyncio.Future[list[int]]:
        """Commit all ``writes`` or none, now."""
        done: asyncio.Future[list[int]] = self._loop.create_future()
        for write in writes:
            actual = self._revs.get(write.key, 0)
            if actual != write.expected_rev:
                done.set_exception(RevisionMismatchError(write.key, actual))
                return done
        changes = [self._change(write) for write in writes]
        self._log += changes
        try:
            self._sink(changes)
        except Exception as error:  # noqa: BLE001 - what is committed is answered as such
            if not self._broken.done():
                self._broken.set_exception(error)
        done.set_result([change.rev for change in changes])
        return done

    async def current_rev(self) -> int:
        """Return the newest revision."""
        return self._current_rev

    def compacted_rev(self) -> int:
        """Return the revision up to which history is forgotten."""
        return self._compacted_rev

    async def compact(self, rev: int) -> int:
        """Forget history up to ``rev``; live objects stay."""
        target = min(rev, self._current_rev)
        if target > self._compacted_rev:
            self._log = [*self.list_at(target), *(change for change in self._log if change.rev > target)]
            self._compacted_rev = target
        return self._compacted_rev

    async def watch_over(self) -> None:
        """Wait until the sink has failed, and raise why."""
        await asyncio.shield(self._broken)

    async def close(self) -> None:
        """Nothing is left to be done."""

    def _change(self, write: Write) -> Change:
        self._current_rev += 1
        if write.value is None:
            self._revs.pop(write.key, None)
        else:
            self._revs[write.key] = self._current_rev
        return Change(self._current_rev, write.key, write.value, write.expected_rev, write.note)


def _drop(changes: Sequence[Change]) -> None:
    del changes
