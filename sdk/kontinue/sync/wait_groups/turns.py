"""When one of many processes that write the same object may write next. Pure: time and randomness are arguments.

Of the writes that are built on one state one succeeds, and each of the others costs the server two requests. So a
process writes several times in a row, each built on the answer to the one before; then it lets others come, for a
little less than it had to wait itself. What it does after a conflict is a matter of how long a write takes here, which
differs by ten from server to server. Called by ``kontinue.sync.wait_groups.counter``; nothing but time depends on it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

IN_A_ROW: Final = 12
"""Writes of one turn, where others write, too. More of them waste less, and let others wait longer. Chosen, as
most numbers here, by simulations of 2 to 100 processes on servers that take 0.5 to 25 ms for a write."""
LONGEST_TURN_S: Final = 0.1
"""Where a write takes so long that they would last longer, there are fewer. And no turn goes on after such a pause."""
IN_A_ROW_ALONE: Final = 64
"""Where nobody else was seen: who comes never finds a gap between writes in a row, and must not starve."""
ALONE_AFTER: Final = 16
"""Turns in which nobody else has written. Judgement."""
WAIT_AGAIN: Final = 0.75
"""Of the wait for the last turn is slept before it is tried again: of all who wait few try, and they soon succeed."""
LONGEST_WAIT_S: Final = 4.0
"""Of what was waited last time no more is believed. Judgement."""
GAP: Final = 4.0
"""In writes: what is left to others at the least after a turn. A read and a write have to fit in."""
FIRST_PAUSE: Final = 4.0
LONGEST_PAUSE: Final = 32.0
"""In writes: after conflicts, drawn between 0 and a bound that doubles between these."""
QUICK_WRITE_S: Final = 0.0005
SLOW_WRITE_S: Final = 0.1
"""A write is taken to last something between these: what lasts longer waits for other things, too. Judgement."""
UNKNOWN_WRITE_S: Final = 0.004
_WEIGHT: Final = 0.125

_shared_rng: Final = Random()  # noqa: S311 - jitter is no secret


class Turns:
    """Turns of one process on one object."""

    def __init__(self, *, random: Callable[[], float] = _shared_rng.random) -> None:
        self._random = random
        self._write_s = UNKNOWN_WRITE_S
        self._in_a_row = 0
        self._alone_for = ALONE_AFTER
        self._conflicts = 0
        self._asked_s = 0.0
        self._waited_s = 0.0
        self._ended_s = 0.0
        self._count: int | None = None

    def pause_s(self, now_s: float) -> float | None:
        """Return how long to leave it to others before the object is read and written; None while our turn goes on."""
        if self._in_a_row and not self._is_over(now_s):
            return None
        again_s = 0.0
        if self._in_a_row:
            self._in_a_row = 0
            again_s = max(self._waited_s * WAIT_AGAIN * (0.9 + 0.2 * self._random()), GAP * self._write_s)
        self._asked_s = now_s
        return max(0.0, self._ended_s + again_s - now_s)

    def _is_over(self, now_s: float) -> bool:
        is_old = now_s - self._ended_s > LONGEST_TURN_S and self._alone_for < ALONE_AFTER
        return is_old or self._in_a_row >= self._most_in_a_row()

    def _most_in_a_row(self) -> int:
        if self._alone_for >= ALONE_AFTER:
            return IN_A_ROW_ALONE
        return min(IN_A_ROW, max(1, int(LONGEST_TURN_S / self._write_s)))

    def pause_after_conflict_s(self, now_s: float) -> float:
        """Note that somebody else was faster; return how long to wait before the next try."""
        if self._in_a_row:
            self._asked_s = now_s
        self._in_a_row = 0
        self._alone_for = 0
        bound = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._conflicts, 8))
        self._conflicts += 1
        return bound * self._write_s * self._random()

    def unanswered(self, now_s: float) -> None:
        """Note that the server was away: who waits for it does not wait for others."""
        self._asked_s = now_s

    def written(self, now_s: float, *, took_s: float, before: int, count: int) -> None:
        """Note a write of ours.

        Args:
            now_s: when it was answered.
            took_s: from its request to its answer.
            before: how many writes there were before it, by anybody.
            count: how many there were with it.
        """
        took_s = min(max(QUICK_WRITE_S, took_s), SLOW_WRITE_S)
        self._write_s += (took_s - self._write_s) * _WEIGHT
        if self._in_a_row == 0:
            is_alone = self._count in {None, before} and not self._conflicts
            self._waited_s = 0.0 if is_alone else min(LONGEST_WAIT_S, now_s - self._asked_s)
            self._alone_for = self._alone_for + 1 if is_alone else 0
        self._conflicts = 0
        self._in_a_row += 1
        self._ended_s = now_s
        self._count = count
