"""Internal. Who may run among the Executions of functions with a limit: slots, given in the order of creation. Pure.

In a group that is not sharded the replica asks before it starts one. In a sharded one the leader asks before it labels
one with a shard: the label is the grant (``Admissions`` adds what it sees of those that have one). A slot is kept until
its Execution has stopped.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from kontinue_engine.sharding.fates import SEEN_AGAIN_S, Fate, Inquiry

Turn = tuple[float, str]
"""Creation time and name: whoever has the smallest one is next."""

_NOBODY: Final[Mapping[str, str]] = {}


class Limits:
    """Slots per function.

    Args:
        limits: function -> how many Executions of it may run at once.
    """

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = limits
        self._holders: dict[str, dict[str, str]] = {function: {} for function in limits}
        self._queues: dict[str, list[tuple[Turn, str]]] = {function: [] for function in limits}
        self._function_of: dict[str, str] = {}
        self._waiting: dict[str, Turn] = {}
        self._changed: set[str] = set()

    def is_limited(self, function: str) -> bool:
        """Tell whether there is a limit at all."""
        return function in self._limits

    def limit(self, function: str) -> int:
        """Return how many may run at once."""
        return self._limits[function]

    def has_slot(self, uid: str) -> bool:
        """Tell whether it may run."""
        return uid in self._function_of and uid not in self._waiting

    def is_waiting(self, uid: str) -> bool:
        """Tell whether it wants a slot and has none."""
        return uid in self._waiting

    def holders(self, function: str) -> Mapping[str, str]:
        """Return who has the slots: uid -> name."""
        return self._holders.get(function, _NOBODY)

    def wait(self, uid: str, function: str, turn: Turn) -> None:
        """It wants a slot; one that has or wants one already keeps its place."""
        if uid not in self._function_of:
            self._function_of[uid] = function
            self._waiting[uid] = turn
            heapq.heappush(self._queues[function], (turn, uid))
            self._changed.add(function)

    def hold(self, uid: str, function: str, name: str) -> None:
        """It runs already, whatever the limit says."""
        self._waiting.pop(uid, None)
        self._function_of[uid] = function
        self._holders[function][uid] = name

    def release(self, uid: str) -> None:
        """It has stopped, or wants no slot any more. Unknown ones are fine."""
        function = self._function_of.pop(uid, None)
        if function is not None and self._waiting.pop(uid, None) is None:
            del self._holders[function][uid]
            self._changed.add(function)

    def admit(self) -> list[str]:
        """Give free slots to those whose turn it is, and return their uids."""
        admitted: list[str] = []
        for function in sorted(self._changed):
            holders, queue = self._holders[function], self._queues[function]
            while queue and len(holders) < self._limits[function]:
                turn, uid = heapq.heappop(queue)
                if self._waiting.get(uid) == turn and self._function_of.get(uid) == function:
                    del self._waiting[uid]
                    holders[uid] = turn[1]
                    admitted.append(uid)
        self._changed.clear()
        return admitted


class Applicant(msgspec.Struct, frozen=True, kw_only=True):
    """A live Execution of a function with a limit.

    Attributes:
        uid: identity.
        name: of the object.
        function: what it runs.
        created_s: creation time.
        retries: ``status.observedRetries``: of one that waits higher than ever while it ran, if it is retried.
    """

    uid: str
    name: str
    function: str
    created_s: float = 0.0
    retries: int = 0


class Admit(msgspec.Struct, frozen=True, tag=True):
    """It may be given to a shard."""

    uid: str


class Seek(msgspec.Struct, frozen=True, tag=True):
    """Find out what has become of an admitted one that is not seen in a shard."""

    uid: str
    name: str


class Admissions:
    """The leader's part: which Executions of limited functions may get a shard.

    Args:
        limits: function -> limit.
        patience_s: see ``fates.Inquiry``.
    """

    def __init__(self, limits: Mapping[str, int], *, patience_s: float) -> None:
        self.slots = Limits(limits)
        self._patience_s = patience_s
        self._inquiries: dict[str, Inquiry] = {}
        self._names: dict[str, str] = {}
        self._retries: dict[str, int] = {}
        self._in_shards: set[str] = set()
        self._has_holders = False
        self._has_ended = False
        self._has_waiting = False

    # What is seen.

    def replace_waiting(self, found: Sequence[Applicant]) -> None:
        """Take the list of all live ones without a shard."""
        self._has_waiting = True
        listed = {one.uid for one in found}
        for uid in [uid for uid in self._names if self.slots.is_waiting(uid) and uid not in listed]:
            self.forget_waiting(uid)
        for one in found:
            self.wait(one)

    def must_wait(self, applicant: Applicant) -> bool:
        """Tell whether a live one without a shard has no slot: it has not been admitted, or not since it is retried."""
        return not self.slots.has_slot(applicant.uid) or applicant.retries > self._retries.get(applicant.uid, 0)

    def wait(self, applicant: Applicant) -> None:
        """Take a live one without a shard. What a run before had is free: nothing is retried before it has stopped."""
        if self.slots.has_slot(applicant.uid) and self.must_wait(applicant):
            self._drop(applicant.uid)
        self._names[applicant.uid] = applicant.name
        self._retries[applicant.uid] = max(applicant.retries, self._retries.get(applicant.uid, 0))
        self.slots.wait(applicant.uid, applicant.function, (applicant.created_s, applicant.name))

    def forget_waiting(self, uid: str) -> None:
        """It has a shard, has ended, or is gone: if it was admitted, it is asked for unless it is seen in a shard."""
        if self.slots.is_waiting(uid):
            self._drop(uid)

    def replace_holders(self, found: Iterable[Applicant], now_s: float) -> None:
        """Take the list of all live ones that have a shard."""
        self._has_holders = True
        listed = {one.uid: one for one in found}
        for uid in self._in_shards - listed.keys():
            self.lost(uid, now_s)
        for one in listed.values():
            self.hold(one)

    def hold(self, applicant: Applicant) -> None:
        """Take a live one that has a shard; what is older than its retry is passed over."""
        uid = applicant.uid
        if applicant.retries < self._retries.get(uid, 0):
            return
        self._retries[uid] = applicant.retries
        self._names[uid] = applicant.name
        self._in_shards.add(uid)
        self._inquiries.pop(uid, None)
        self.slots.hold(uid, applicant.function, applicant.name)

    def hold_ended(self, found: Iterable[Applicant], now_s: float) -> None:
        """Take the list of those in shards that have ended, and of which nobody has said that they have stopped.

        To be listed when those that live have been listed and are watched: what ends before that is in this list, what
        ends later is seen to go. The other way round, what ends between the two lists would be in neither.
        """
        self._has_ended = True
        for one in found:
            if not self.slots.has_slot(one.uid):
                self.hold(one)
                self.lost(one.uid, now_s)

    def lost(self, uid: str, now_s: float) -> None:
        """It has ended, is gone, or has lost its shard."""
        self._in_shards.discard(uid)
        if self.slots.has_slot(uid):
            self._inquiries[uid] = Inquiry(due_s=now_s)

    # How it went.

    def sought(self, command: Seek, fate: Fate, now_s: float) -> None:
        """Its fate is known."""
        inquiry = self._inquiries.get(command.uid)
        if inquiry is not None and inquiry.is_asked and inquiry.answer(fate, now_s, patience_s=self._patience_s):
            self._drop(command.uid)

    def failed(self, command: Seek, now_s: float) -> None:
        """There was no answer."""
        inquiry = self._inquiries.get(command.uid)
        if inquiry is not None:
            inquiry.failed(now_s)

    # What to do.

    def plan(self, now_s: float) -> list[Admit | Seek]:
        """Return what is to be done now. Nobody is admitted before all that have a shard, or had one, are known."""
        commands: list[Admit | Seek] = []
        for uid, inquiry in self._inquiries.items():
            if not inquiry.is_asked and inquiry.due_s <= now_s:
                inquiry.is_asked = True
                commands.append(Seek(uid, self._names[uid]))
        if self._has_holders and self._has_ended and self._has_waiting:
            for uid in self.slots.admit():
                self._inquiries[uid] = Inquiry(due_s=now_s + SEEN_AGAIN_S)
                commands.append(Admit(uid))
        return commands

    def next_look_s(self, now_s: float) -> float | None:
        """Return the seconds until ``plan`` may have something new to say although nothing was seen."""
        due_s = min((one.due_s for one in self._inquiries.values() if not one.is_asked), default=math.inf)
        return None if due_s == math.inf else max(0.0, due_s - now_s)

    def _drop(self, uid: str) -> None:
        self._names.pop(uid, None)
        self._retries.pop(uid, None)
        self._inquiries.pop(uid, None)
        self._in_shards.discard(uid)
        self.slots.release(uid)
