"""Internal. Those of one replica that wait for one mutex, and which of them are told who holds it. Pure.

Hundreds may wait, and each word to one of them is a write: only those who are next hear of every holder; the others are
told once that they are not next. Kept by ``controllers.admission``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice
from typing import Final

from kontinue_engine.sharding.limits import Turn

NEXT: Final = 3
"""How many are told who holds the mutex: the writes that a change of hands costs at most. Judgement: they are soon in
need of an explanation, and of the others it is only of interest that they are not next."""


class WaitingLine:
    """Those who wait for one mutex.

    Attributes:
        holder: uid of who has it, as far as this line was told; empty if nobody has.
    """

    def __init__(self) -> None:
        self.holder = ""
        self._turns: dict[str, Turn] = {}
        self._order: list[tuple[Turn, str]] = []
        self._named: set[str] = set()

    def __contains__(self, uid: str) -> bool:
        return uid in self._turns

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, uid: str, turn: Turn) -> None:
        """One waits; if it does already, it keeps its place."""
        if uid not in self._turns:
            self._turns[uid] = turn
            insort(self._order, (turn, uid))

    def discard(self, uid: str) -> list[str]:
        """One waits no more: return who is next instead of it and must be told so. Unknown ones are fine."""
        turn = self._turns.pop(uid, None)
        self._named.discard(uid)
        if turn is None:
            return []
        at = bisect_left(self._order, (turn, uid))
        del self._order[at]
        return [one for one in self._next() if one not in self._named] if at <= NEXT else []

    def held_by(self, holder: str) -> list[str]:
        """Somebody holds the mutex: return whom to tell, which is nobody if that was known."""
        if holder == self.holder:
            return []
        self.holder = holder
        return sorted({*self._next(), *self._named})

    def is_told(self, uid: str) -> bool:
        """Tell whether one that waits is to be told who holds the mutex."""
        if uid in self._next():
            self._named.add(uid)
            return True
        self._named.discard(uid)
        return False

    def _next(self) -> Iterator[str]:
        return islice((uid for _, uid in self._order if uid != self.holder), NEXT)
