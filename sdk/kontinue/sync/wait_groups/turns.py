"""When one of many processes that write the same object may write next. Pure: time and randomness are arguments.

Of the writes that are built on one state one succeeds, and each of the others costs the server two requests. So a
process that has more to write takes turns with the others: several writes in a row, each built on the answer to the one
before. Each of these says for how long more are to come, so those who read it know when to come back; and as the object
names its writers in the order of their latest writes, each sees how many turns of others come before its own. Nobody
has to keep to that: who writes once tries when it likes, after pauses that grow with conflicts. Called by
``kontinue.sync.wait_groups.counter``; nothing but time depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from kontinue.api.konductor.counting import Write, write_of

IN_A_ROW: Final = 32
"""Writes of one turn, where others write, too. More of them waste less, and let others wait longer. Chosen, as most
numbers here, by simulations of 2 to 100 processes that begin or end together, on servers that take 0.5 to 4 ms."""
FIRST_IN_A_ROW: Final = 4
"""Writes of the turn with which a process comes: all who come at the same time soon have a place in the order."""
LONGEST_TURN_S: Final = 0.1
"""Where a write takes so long that they would last longer, there are fewer. And no turn goes on after such a pause."""
IN_A_ROW_ALONE: Final = 64
"""Where nobody else was seen."""
GAP: Final = 4.0
"""In writes: what is left to others at the least after a turn. A read and a write have to fit in."""
HANDED_OVER: Final = 2.0
"""In writes: from the end of one turn to the begin of the next one. Who writes once has a chance then."""
AT_ONCE: Final = 2.0
"""In writes: who asks so soon after its last write is taken to have more to write. Judgement."""
STOOD_STILL: Final = 2.0
"""In writes: who has announced some and has written none for so long has stopped. Judgement."""
LONGEST_BELIEVED_S: Final = 1.0
"""Of what others announce. Judgement."""
MANY: Final = 8
"""So many writes of others tell how long one takes. Judgement."""
SURE: Final = 0.9
"""Of the time until our turn, as estimated, is slept before it is estimated anew. Judgement."""
TURNS_AHEAD: Final = 16
"""For no more turns of others is slept at a time: they may have stopped. Judgement."""
FIRST_PAUSE: Final = 4.0
LONGEST_PAUSE: Final = 32.0
"""In writes: after conflicts, drawn between 0 and a bound that doubles between these."""
QUICK_WRITE_S: Final = 0.0005
SLOW_WRITE_S: Final = 0.1
"""A write is taken to last something between these: what lasts longer waits for other things, too. Judgement."""
UNKNOWN_WRITE_S: Final = 0.004
LONGER: Final = 1 / 16
SHORTER: Final = 1 / 2
"""What a write that lasts longer, or shorter, counts in the estimate. It is rather too low: who comes too soon reads
once more, who comes too late has left the object to nobody."""


class Turns:
    """Turns of one process on one object.

    For each write: ``asked``; then, unless our turn goes on, ``pause_s`` for what was read, until that is 0; then
    ``goes_on_for_s`` for what is written, and ``written`` or ``pause_after_conflict_s``.

    Args:
        writer: who it is, as the object remembers it.
        random: draws from 0 to 1.
    """

    def __init__(self, writer: str, *, random: Callable[[], float]) -> None:
        self._writer = writer
        self._random = random
        self._write_s = UNKNOWN_WRITE_S
        self._is_measured = False
        self._has_more = False
        """Writes follow each other, as far as can be told: only then are there turns."""
        self._others = 0
        """How many others took turns when ours began."""
        self._left = 0
        """Writes of our turn that are still to come."""
        self._in_a_row = FIRST_IN_A_ROW
        """Writes of our latest turn, at the most. Those of others are taken to be as long: many come together."""
        self._done = 0
        """Writes of our turn so far."""
        self._conflicts = 0
        """Since our last write."""
        self._looks = 0
        """Since our last conflict, each at the turn of somebody else."""
        self._ended_s = float("-inf")
        self._newest: Write | None = None
        """The newest write, when what is to be written next was looked at before."""
        self._newest_s = 0.0
        """When it was seen first."""
        self._looked_s = 0.0
        """When it was seen last."""
        self._waited: dict[str, int] = {}
        """Who waited for its next turn when the object was read last, and the number of its latest write."""
        self._overtaken = 0
        """Whose latest write has this number or a lower one did not come for its turn."""

    def asked(self, now_s: float) -> float | None:
        """Note that something is to be written; return how long to leave it to others before it is read.

        None: it need not be read, our turn goes on.
        """
        self._has_more = now_s - self._ended_s <= AT_ONCE * self._write_s
        self._newest = None
        if self._goes_on(now_s):
            return None
        return max(GAP * self._write_s, self._turns_s(self._others)) if self._has_more else 0.0

    def goes_on_for_s(self) -> float | None:
        """Return how long writes are to follow the next one, as others are told; None: no more are known of."""
        if not self._has_more or not self._left:  # out of turn: time was up before our turn came
            return None
        # Who stops is not waited for longer than its turn has lasted.
        return min(max(0, self._left - 1), self._done + 1) * self._write_s

    def pause_s(self, now_s: float, writers: Sequence[str]) -> float:
        """Return how long to leave the object to others that has just been read; 0 if it is our turn.

        Args:
            now_s: the time.
            writers: their latest writes, the newest last.
        """
        writes = [write_of(one) for one in writers]
        self._note_overtaken(writes)
        last = writes[-1] if writes else None
        stands_still = self._look(now_s, last)
        theirs = last.goes_on_for_s if last is not None and last.writer != self._writer else None
        if self._goes_on(now_s) and theirs is None:
            return 0.0
        before, others = self._order(writes)
        self._left = 0
        if theirs is not None and not stands_still:
            pause_s = self._until_ours_s(min(theirs, LONGEST_BELIEVED_S), before)
            if pause_s:
                self._looks += 1
                return pause_s
        is_alone = self._has_more and not (others or theirs or self._conflicts)
        self._others = others
        self._in_a_row = IN_A_ROW if self._has_more else FIRST_IN_A_ROW
        self._left = IN_A_ROW_ALONE if is_alone else self._most_in_a_row()
        self._done = 0
        return 0.0

    def pause_after_conflict_s(self, *, took_s: float) -> float:
        """Note that somebody else was faster; return how long to wait before it is read again.

        Args:
            took_s: from our request to the refusal.
        """
        self._measured(took_s)
        self._conflicts += 1
        self._looks = 0
        return 0.0 if self._has_more else self._backoff_s()

    def written(self, now_s: float, *, took_s: float) -> None:
        """Note a write of ours.

        Args:
            now_s: when it was answered.
            took_s: from its request to its answer.
        """
        is_next = self._has_more and self._done > 0 and not self._conflicts
        self._measured(now_s - self._ended_s if is_next else took_s)
        self._conflicts = 0
        self._left = max(0, self._left - 1)
        self._done += 1
        self._ended_s = now_s

    def _goes_on(self, now_s: float) -> bool:
        """Tell whether the next write belongs to a turn that has begun: it is built on our last one."""
        return self._left > 0 and now_s - self._ended_s <= LONGEST_TURN_S

    def _look(self, now_s: float, last: Write | None) -> bool:
        """Note what was read; tell whether nobody has written for a while, as far as has been seen."""
        before, passed_s = self._newest, now_s - self._looked_s
        self._newest, self._looked_s = last, now_s
        if last is None or last != before:
            self._newest_s = now_s
        elif now_s - self._newest_s >= STOOD_STILL * self._write_s:
            return True
        if before is not None and last is not None and last.number - before.number >= MANY:
            self._measured(passed_s / (last.number - before.number))
        return False

    def _note_overtaken(self, writes: Sequence[Write]) -> None:
        """Note who has not come for its turn: somebody who stood behind it has had one since the last look."""
        if not writes or writes[-1].number <= self._overtaken:  # somebody has begun to count anew
            self._overtaken = 0
            self._waited = {}
        for write in writes:
            stood = self._waited.get(write.writer, write.number)
            if write.number > stood and write.goes_on_for_s is not None:
                self._overtaken = max(self._overtaken, stood)
        self._waited = {write.writer: write.number for write in writes if write.goes_on_for_s == 0.0}

    def _order(self, writes: Sequence[Write]) -> tuple[int, int]:
        """Return how many others have their turn before us, and how many have turns.

        Who did not end its last one has left, and so has who was overtaken.
        """
        before = others = ours = 0
        for write in reversed(writes):
            if write.writer == self._writer:
                ours = 1
            elif write.goes_on_for_s == 0.0 and write.number > self._overtaken:
                others += 1
                before += ours
        return before, others

    def _until_ours_s(self, theirs_s: float, before: int) -> float:
        if self._has_more:
            come_s = HANDED_OVER * self._write_s * self._random() if theirs_s else 0.0
            return theirs_s + come_s + self._turns_s(before)
        if not (theirs_s and self._conflicts):
            return 0.0
        # Most of many come late, some soon, as those do who have turns; and sooner after each look that came too late.
        return theirs_s + self._backoff_s() * self._random() / (self._looks + 1)

    def _turns_s(self, turns: int) -> float:
        turn_s = (self._most_in_a_row() + HANDED_OVER) * self._write_s
        return SURE * min(turns, TURNS_AHEAD) * turn_s

    def _most_in_a_row(self) -> int:
        return min(self._in_a_row, max(1, int(LONGEST_TURN_S / self._write_s)))

    def _backoff_s(self) -> float:
        bound = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._conflicts - 1, 8))
        return bound * self._write_s * self._random()

    def _measured(self, took_s: float) -> None:
        took_s = min(max(QUICK_WRITE_S, took_s), SLOW_WRITE_S)
        weight = LONGER if took_s > self._write_s else SHORTER
        self._write_s += (took_s - self._write_s) * (weight if self._is_measured else 1.0)
        self._is_measured = True
