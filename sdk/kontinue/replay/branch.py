"""Step ids: where in a program a durable call was made, as short texts that are the same in every replay.

A branch is a strand of the program that runs code in a fixed order: an asyncio task, or a thread of a sync gather. The
ordinal of a call is taken when the call is made, inside its branch, so what other branches do cannot shift it. A
branch is known by where it was born: its parent, the parent's step count, its qualified name, and which one it is of
those. Pure; ``kontinue_engine.runner`` decides which code runs in which branch.
"""

from __future__ import annotations

import hashlib


class Branch:
    """One strand of a program and its counters.

    Attributes:
        id: empty for the root, else 12 hexadecimal digits.
        count: durable calls made so far.
    """

    __slots__ = ("_born", "_draws", "_prefix", "_timers", "count", "id")

    def __init__(self, id_: str = "") -> None:
        self.id = id_
        self.count = 0
        self._prefix = f"{id_}-" if id_ else ""
        self._timers = 0
        self._draws = 0
        self._born: dict[str, int] = {}

    def next_step(self) -> str:
        """Return the id of the durable call that is being made: ``3``, or ``9f3a2c81d04e-3`` below the root."""
        self.count += 1
        self._born.clear()
        return f"{self._prefix}{self.count}"

    def next_timer(self) -> str:
        """Return the id of a timer of the event loop. A counter of its own: libraries use timers as they please."""
        self._timers += 1
        return f"{self._prefix}t{self._timers}"

    def next_draw(self) -> str:
        """Return the id of a use of ``uuid()``."""
        self._draws += 1
        return f"{self._prefix}u{self._draws}"

    def fork(self, qualified_name: str) -> Branch:
        """Return the branch that is being born here, for code of this name.

        Only births of the same name since the last durable call are counted, so that a library which starts tasks of
        its own never renames the user's.
        """
        nth = self._born.get(qualified_name, 0)
        self._born[qualified_name] = nth + 1
        key = f"{self.id}\0{self.count}\0{qualified_name}\0{nth}"
        return Branch(hashlib.blake2b(key.encode(), digest_size=6).hexdigest())
