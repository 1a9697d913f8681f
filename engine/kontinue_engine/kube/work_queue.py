"""Internal. A queue of keys to reconcile, with the semantics of client-go's rate-limited queue.

A key waits at most once, however often it is added; a key added while it is processed waits again afterwards, so no
key is ever processed twice at the same time and no change is missed. Fed by informer handlers and by the pool;
consumed by the workers of ``kontinue_engine.controllers``. Belongs to one event loop; not thread-safe.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Deduplicating first-in-first-out queue with delayed adds. Time is the running loop's."""

    def __init__(self) -> None:
        self._ready: deque[K] = deque()
        self._has_ready = asyncio.Event()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._delayed: dict[K, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Number of keys that wait now; delayed and processed ones are not counted."""
        return len(self._ready)

    @property
    def delayed(self) -> int:
        """Number of keys that wait for their time."""
        return len(self._delayed)

    def add(self, key: K) -> None:
        """Ask for ``key`` to be processed; joins a request that already waits."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._put(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Add ``key`` after ``delay_s`` seconds. Of several delays of one key the one that ends first counts."""
        if delay_s <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        waiting = self._delayed.get(key)
        if waiting is not None:
            if waiting.when() <= loop.time() + delay_s:
                return
            waiting.cancel()
        self._delayed[key] = loop.call_later(delay_s, self._fire, key)

    def forget(self, key: K) -> None:
        """Drop the delayed add of ``key``, for example because its object is gone. What waits already, stays."""
        waiting = self._delayed.pop(key, None)
        if waiting is not None:
            waiting.cancel()

    async def get(self) -> K:
        """Wait for the next key and mark it as being processed: call ``done`` afterwards, whatever happened."""
        while not self._ready:
            self._has_ready.clear()
            await self._has_ready.wait()
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        """End the processing of ``key``; if it was added meanwhile, it waits again."""
        self._processing.discard(key)
        if key in self._dirty:
            self._put(key)

    def _put(self, key: K) -> None:
        self._ready.append(key)
        self._has_ready.set()

    def _fire(self, key: K) -> None:
        del self._delayed[key]
        self.add(key)
