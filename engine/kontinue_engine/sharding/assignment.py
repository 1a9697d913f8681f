"""Internal. Which shard an Execution goes to, and in what order those of a dead shard are moved.

Placement is round-robin over live shards (docs of sharding). What is moved: first what can run, then, one Lease
duration later, what only waits, because a replica that comes back under its name costs nothing then; and never faster
than the API server can stand. Every operation takes time in proportion to what it returns.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import msgspec

MAX_RELABELS_PER_S: Final = 100.0
"""Per group (design section 8): a rolling update of 10 replicas over 100,000 waiting Executions would otherwise write
159,000 relabels at once."""
BURST: Final = 100
"""Relabels that may follow each other without a pause. Judgement: one second's worth."""


class RoundRobin:
    """Takes turns among shards, also while they come and go."""

    def __init__(self) -> None:
        self._last = ""

    def pick(self, live: Sequence[str]) -> str:
        """Return whose turn it is.

        Args:
            live: shard ids, sorted; at least one.
        """
        self._last = live[bisect_right(live, self._last) % len(live)]
        return self._last


class Orphan(msgspec.Struct, frozen=True, kw_only=True):
    """An Execution whose shard is dead or unknown.

    Attributes:
        uid: identity.
        name: of the object.
        version: resourceVersion that a relabel must find.
        shard: whose sweep has found it; empty for one that has no Lease (any more).
        needs_parent_group: whether another Execution of this group owns it, and no label tells that yet.
        mutex: name of the mutex it needs, or empty.
        lost_by: incarnation that died with it; empty when its replica stopped in order.
        was_owned: whether that incarnation is the owner that it names, and not merely the next one to claim it.
        deaths: how many times it lost its replica before.
    """

    uid: str
    name: str
    version: str
    shard: str
    needs_parent_group: bool = False
    mutex: str = ""
    lost_by: str = ""
    was_owned: bool = False
    deaths: int = 0


class Orphans:
    """Orphans in the order in which they are due."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, str]] = []
        self._known: dict[str, tuple[float, Orphan]] = {}
        self._by_shard: dict[str, set[str]] = {}
        self._added = 0

    def __len__(self) -> int:
        return len(self._known)

    def count(self, shard: str) -> int:
        """Return how many of a shard wait here."""
        return len(self._by_shard.get(shard, ()))

    def add(self, orphan: Orphan, due_s: float) -> None:
        """Add one, or bring it up to date: in the same shard it keeps its place unless it is due earlier now."""
        known = self._known.get(orphan.uid)
        if known is not None:
            self.discard(orphan.uid)
            due_s = min(due_s, known[0]) if orphan.shard == known[1].shard else due_s
        self._known[orphan.uid] = (due_s, orphan)
        self._by_shard.setdefault(orphan.shard, set()).add(orphan.uid)
        if known is None or due_s != known[0]:  # otherwise it stands in the queue already
            self._added += 1
            heapq.heappush(self._queue, (due_s, self._added, orphan.uid))

    def wake(self, uid: str) -> None:
        """Something that it waited for has happened: it is due now. Unknown ones are fine."""
        known = self._known.get(uid)
        if known is not None:
            self.add(known[1], -math.inf)

    def discard(self, uid: str) -> None:
        """It needs no other shard any more."""
        known = self._known.pop(uid, None)
        if known is not None:
            siblings = self._by_shard[known[1].shard]
            siblings.discard(uid)
            if not siblings:
                del self._by_shard[known[1].shard]

    def drop_shard(self, shard: str) -> None:
        """Its replica has come back: it keeps what it has."""
        for uid in self._by_shard.pop(shard, ()):
            del self._known[uid]

    def take(self, now_s: float, at_most: int) -> list[Orphan]:
        """Remove and return those that are due, the most urgent first."""
        taken: list[Orphan] = []
        while self._queue and len(taken) < at_most and self._queue[0][0] <= now_s:
            due_s, _, uid = heapq.heappop(self._queue)
            known = self._known.get(uid)
            if known is not None and known[0] == due_s:
                self.discard(uid)
                taken.append(known[1])
        return taken

    def next_due_s(self) -> float | None:
        """Return when the next one is due; None if none waits."""
        while self._queue:
            due_s, _, uid = self._queue[0]
            known = self._known.get(uid)
            if known is not None and known[0] == due_s:
                return due_s
            heapq.heappop(self._queue)
        return None


class Allowance:
    """A token bucket: how many writes may be made now.

    Args:
        per_s: refill.
        burst: size.
    """

    def __init__(self, per_s: float = MAX_RELABELS_PER_S, burst: int = BURST) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at_s: float | None = None

    def available(self, now_s: float) -> int:
        """Return how many may be spent now."""
        if self._filled_at_s is not None:
            grown = self._tokens + max(0.0, now_s - self._filled_at_s) * self._per_s
            self._tokens = min(float(self._burst), grown)
        self._filled_at_s = now_s
        return int(self._tokens)

    def spend(self, count: int) -> None:
        """Note that ``count`` were spent."""
        self._tokens -= count

    def wait_s(self) -> float:
        """Return the seconds until one more may be spent, counted from the last look."""
        return max(0.0, (1 - self._tokens) / self._per_s)
