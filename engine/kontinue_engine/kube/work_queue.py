"""Internal. A queue of keys to reconcile, with the semantics of client-go's rate-limited queue.

A key waits at most once, however often it is added; a key added while it is processed waits again afterwards, so no
key is ever processed twice at the same time and no change is missed. Fed by informer handlers and by the pool;
consumed by the workers of ``kontinue_engine.controllers``. Belongs to one event loop; not thread-safe.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

SPARE: Final = 64
"""So many delays that do not count any more are no reason to look for them. Judgement."""


class WorkQueue(Generic[K]):
    """Deduplicating first-in-first-out queue with delayed adds. Time is the running loop's."""

    def __init__(self) -> None:
        self._ready: deque[K] = deque()
        self._has_ready = asyncio.Event()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._delayed: dict[K, float] = {}
        """Key -> when it is added."""
        self._in_order: list[tuple[float, int, K]] = []
        """Heap of the same. A timer of the loop for each would take ten times as much memory. What was forgotten, or
        is due earlier now, stays until its turn has come, or until that is most of it."""
        self._put_off = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0

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
        when_s = asyncio.get_running_loop().time() + delay_s
        known_s = self._delayed.get(key)
        if known_s is None or when_s < known_s:
            self._delayed[key] = when_s
            self._put_off += 1
            heapq.heappush(self._in_order, (when_s, self._put_off, key))
            self._tidy()

    def forget(self, key: K) -> None:
        """Drop the delayed add of ``key``, for example because its object is gone. What waits already, stays."""
        if self._delayed.pop(key, None) is not None:
            self._tidy()

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

    def _fire(self) -> None:
        self._timer = None
        # The loop's clock may be behind what the timer was set to, by a rounding.
        now_s = max(asyncio.get_running_loop().time(), self._timer_s)
        while self._in_order and self._in_order[0][0] <= now_s:
            when_s, _, key = heapq.heappop(self._in_order)
            if self._delayed.get(key) == when_s:
                del self._delayed[key]
                self.add(key)
        self._tidy()

    def _tidy(self) -> None:
        """Drop what does not count any more from the head of the heap, and have the timer wait for the new head."""
        heap = self._in_order
        if len(heap) > 2 * len(self._delayed) + SPARE:
            heap[:] = [item for item in heap if self._delayed.get(item[2]) == item[0]]
            heapq.heapify(heap)
        while heap and self._delayed.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        if self._timer is not None:
            if heap and heap[0][0] == self._timer_s:
                return
            self._timer.cancel()
            self._timer = None
        if heap:
            self._timer_s = heap[0][0]
            self._timer = asyncio.get_running_loop().call_at(self._timer_s, self._fire)
