"""Internal. Who gets a mutex next: the leader's part, a state machine without I/O.

One Lease per mutex names the uid of the Execution that holds it; nothing runs under a mutex whose Lease does not name
it. The leader grants by compare-and-swap (create the Lease, or replace it with its resourceVersion), so two leaders
that overlap cannot both win; in the order of creation, ties by name. The holder's replica deletes the Lease when the
holder has stopped; what it missed is found out here. ``kontinue_engine.coordinator.mutexes`` carries out the commands.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from kontinue.api.meta import Lease
from kontinue_engine.sharding.assignment import Allowance
from kontinue_engine.sharding.fates import SEEN_AGAIN_S, Fate, Inquiry
from kontinue_engine.sharding.leases import mutex_key, retries_of

RETRY_S: Final = 2.0
"""Until a command that failed, or met something newer that was not seen yet, is tried again. Judgement."""


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """A live Execution with a mutex, whether it holds it or not.

    Attributes:
        uid: identity.
        name: of the object.
        version: its resourceVersion.
        mutex: full name of the mutex.
        shard: where it would run; empty in a group that is not sharded, and while it has none. One that is retried has
            the mutex' label before it has a shard again: it does not queue yet, because it may have to wait for a slot
            until then, and whoever has the slot may wait for the mutex.
        created_s: creation time.
        has_started: somebody has written that it ran. If its Lease is gone all the same (deleted by hand, not restored
            with it), it goes first.
        retries: ``status.observedRetries``: higher whenever somebody has it run anew after it had ended, and until it
            has started it stays as it is then. A Lease says which ones it was granted for. So while one waits to be
            started, a Lease with fewer is of a run that has stopped: nothing is started by it, and its next holder may
            be somebody else.
        deaths: how many replicas died that it was assigned to.
        needs_parent_group: whether another Execution of this group owns it, and no label tells that yet.
    """

    uid: str
    name: str
    version: str
    mutex: str
    shard: str = ""
    created_s: float = 0.0
    has_started: bool = False
    retries: int = 0
    deaths: int = 0
    needs_parent_group: bool = False

    @property
    def turn(self) -> tuple[bool, float, str]:
        """Whoever has the smallest one is next."""
        return not self.has_started, self.created_s, self.name

    def has_left(self, tenure: _Tenure) -> bool:
        """Tell whether that was for a run of it that has stopped since."""
        return self.uid == tenure.uid and self.retries > tenure.retries and not self.has_started


class _Tenure(msgspec.Struct, frozen=True):
    """Who holds a mutex, or did, and in which of its runs; without a uid nobody."""

    uid: str = ""
    retries: int = 0


class Grant(msgspec.Struct, frozen=True, tag=True):
    """Create the Lease for this Execution, or replace ``lease``, which nobody needs any more, with its version."""

    to: Contender
    lease: Lease | None


class Free(msgspec.Struct, frozen=True, tag=True):
    """Delete the Lease, with its uid and version: its holder has stopped, and nobody waits."""

    lease: Lease


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Find out the fate of a holder that is not seen any more."""

    lease: Lease


class Bring(msgspec.Struct, frozen=True, tag=True):
    """Label a waiting Execution, which another leader had put into its own shard, with ours."""

    contender: Contender


Command = Grant | Free | Ask | Bring


class _Mutex:
    """One mutex: its Lease, those who want it, and what is under way."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.lease: Lease | None = None
        self.contenders: dict[str, Contender] = {}
        self.unplaced: set[str] = set()  # contenders that wait for a shard first, for example for a slot
        self.queue: list[tuple[tuple[bool, float, str], str]] = []
        self.last = _Tenure()
        self.vanished_s: float | None = None
        self.inquiry: Inquiry | None = None
        self.has_stopped = False
        self.is_busy = False
        self.not_before_s = -math.inf

    @property
    def now(self) -> _Tenure:
        return _tenure_of(self.lease) if self.lease is not None else _Tenure()

    @property
    def holder(self) -> str:
        """Uid of the one that holds it; empty also if that is to queue for it anew."""
        now = self.now
        contender = self.contenders.get(now.uid)
        return "" if contender is not None and contender.has_left(now) else now.uid

    def add(self, contender: Contender, *, is_placed: bool) -> None:
        known = self.contenders.get(contender.uid)
        was_placed = contender.uid not in self.unplaced
        self.contenders[contender.uid] = contender
        if not is_placed:
            self.unplaced.add(contender.uid)
            return
        self.unplaced.discard(contender.uid)
        is_same = known is not None and known.turn == contender.turn and known.retries == contender.retries
        if not (is_same and was_placed):
            heapq.heappush(self.queue, (contender.turn, contender.uid))

    def forget(self, uid: str) -> None:
        self.contenders.pop(uid, None)
        self.unplaced.discard(uid)

    def first(self) -> Contender | None:
        """Return whose turn it is, the holder aside."""
        while self.queue:
            turn, uid = self.queue[0]
            known = self.contenders.get(uid)
            if known is not None and known.turn == turn and uid != self.holder and uid not in self.unplaced:
                return known
            heapq.heappop(self.queue)
        return None

    def hold(self, lease: Lease | None) -> None:
        """Take the Lease as it is now."""
        before = self.now
        self.lease = lease
        if self.now != before:
            self.last = before if before.uid else self.last
            self.inquiry, self.has_stopped, self.vanished_s = None, False, None
            ousted = self.contenders.get(before.uid)
            if ousted is not None:  # it may have to queue again
                heapq.heappush(self.queue, (ousted.turn, ousted.uid))


class _Elsewhere:
    """Those that are in other shards, and which of them are to be brought to the leader's."""

    def __init__(self) -> None:
        self._seen: dict[str, Contender] = {}
        self._idle: set[str] = set()  # nothing is under way for them
        self._looks: deque[tuple[float, str]] = deque()

    def add(self, contender: Contender) -> None:
        """Take one as it is now. What is under way for it goes on."""
        if contender.uid not in self._seen:
            self._idle.add(contender.uid)
        self._seen[contender.uid] = contender

    def discard(self, uid: str) -> None:
        """It is in the leader's shard or in none, has ended, or is gone. Unknown ones are fine."""
        self._seen.pop(uid, None)
        self._idle.discard(uid)

    def answered(self, uid: str, now_s: float) -> None:
        """Its relabel was answered, well or not: until ``RETRY_S`` is over the watch may show it as it was before."""
        self._looks.append((now_s + RETRY_S, uid))

    def take(self, at_most: int, now_s: float, *, may_go: Callable[[Contender], bool]) -> list[Contender]:
        """Return the next ones to be brought; each is answered by ``answered``."""
        while self._looks and self._looks[0][0] <= now_s:
            uid = self._looks.popleft()[1]
            if uid in self._seen:
                self._idle.add(uid)
        waiting = (self._seen[uid] for uid in self._idle) if at_most > 0 else ()
        taken = heapq.nsmallest(at_most, filter(may_go, waiting), key=lambda one: one.turn)
        self._idle.difference_update(one.uid for one in taken)
        return taken

    def next_look_s(self, now_s: float) -> float | None:
        """Return the seconds until ``take`` may have something new to say although nothing was seen."""
        waits_s = [self._looks[0][0] - now_s] if self._looks else []
        if self._idle:
            waits_s.append(RETRY_S)
        return min(waits_s, default=None)


class Mutexes:
    """All mutexes of the group, as its leader sees them.

    Args:
        me: shard of the leader, empty in a group that is not sharded.
        patience_s: see ``fates.Inquiry``.
        allowance: of relabels.
    """

    def __init__(self, me: str, *, patience_s: float, allowance: Allowance) -> None:
        self._me = me
        self._patience_s = patience_s
        self._allowance = allowance
        self._mutexes: dict[str, _Mutex] = {}
        self._key_of: dict[str, str] = {}
        self._elsewhere = _Elsewhere()
        self._changed: set[str] = set()
        self._alarms: list[tuple[float, str]] = []
        self._newest_lease = 0
        self._has_leases = False
        self._has_contenders = False

    # What is seen.

    def replace_contenders(self, found: Iterable[Contender]) -> None:
        """Take the list of all live Executions with a mutex."""
        self._has_contenders = True
        listed = {one.uid: one for one in found}
        for uid in self._key_of.keys() - listed.keys():
            self.forget(uid)
        for one in listed.values():
            self.observe(one)
        self._changed.update(self._mutexes)

    def observe(self, contender: Contender) -> None:
        """Take a live Execution with a mutex, as it is now."""
        key = mutex_key(contender.mutex)
        self._key_of[contender.uid] = key
        is_placed = not self._me or bool(contender.shard) or contender.has_started
        self._get(key).add(contender, is_placed=is_placed)
        if contender.shard == self._me or not is_placed:
            self._elsewhere.discard(contender.uid)
        else:
            self._elsewhere.add(contender)
        self._changed.add(key)

    def forget(self, uid: str) -> None:
        """It has ended, or is gone."""
        self._elsewhere.discard(uid)
        key = self._key_of.pop(uid, None)
        if key is not None:
            self._get(key).forget(uid)
            self._changed.add(key)

    def replace_leases(self, found: Iterable[tuple[str, Lease]]) -> None:
        """Take the list of all Leases of mutexes, each with the key of its mutex."""
        self._has_leases = True
        listed = dict(found)
        for key, mutex in self._mutexes.items():
            if key not in listed:
                mutex.hold(None)
        for key, lease in listed.items():
            self.observe_lease(key, lease)
        self._changed.update(self._mutexes)

    def observe_lease(self, key: str, lease: Lease) -> None:
        """Take the Lease of a mutex as the watch shows it now."""
        self._newest_lease = max(self._newest_lease, int(lease.metadata.resource_version or 0))
        mutex = self._get(key)
        mutex.hold(lease)
        mutex.not_before_s = -math.inf
        self._changed.add(key)

    def forget_lease(self, key: str, lease: Lease) -> None:
        """The Lease was deleted."""
        self._newest_lease = max(self._newest_lease, int(lease.metadata.resource_version or 0))
        mutex = self._get(key)
        mutex.hold(None)
        mutex.not_before_s = -math.inf
        self._changed.add(key)

    # How it went.

    def granted(self, command: Grant, lease: Lease) -> None:
        """A grant was written; ``lease`` is the server's answer. The watch may have shown it, or its end, already."""
        mutex = self._land(mutex_key(command.to.mutex))
        if int(lease.metadata.resource_version or 0) > self._newest_lease:
            mutex.hold(lease)

    def freed(self, command: Free, key: str) -> None:
        """A Lease was deleted."""
        mutex = self._land(key)
        if mutex.lease is not None and mutex.lease.metadata.uid == command.lease.metadata.uid:
            mutex.hold(None)

    def asked(self, command: Ask, key: str, fate: Fate, now_s: float) -> None:
        """The fate of a holder is known."""
        mutex = self._land(key)
        if mutex.inquiry is not None and mutex.now == _tenure_of(command.lease):
            mutex.has_stopped = mutex.inquiry.answer(fate, now_s, patience_s=self._patience_s)

    def brought(self, command: Bring, now_s: float) -> None:
        """An Execution has our label: the watch will show it."""
        self._elsewhere.answered(command.contender.uid, now_s)

    def failed(self, command: Command, key: str, now_s: float) -> None:
        """A command did not get through, or met something newer: if nothing is seen of that, it is decided anew."""
        if isinstance(command, Bring):
            self._elsewhere.answered(command.contender.uid, now_s)
            return
        mutex = self._land(key)
        if mutex.inquiry is not None:
            mutex.inquiry.failed(now_s)
        mutex.not_before_s = now_s + RETRY_S

    def _land(self, key: str) -> _Mutex:
        mutex = self._get(key)
        mutex.is_busy = False
        self._changed.add(key)
        return mutex

    # What to do.

    def plan(self, now_s: float) -> list[Command]:
        """Return what is to be done now; each command is answered by the method that says how it went."""
        if not (self._has_leases and self._has_contenders):
            return []
        while self._alarms and self._alarms[0][0] <= now_s:
            self._changed.add(heapq.heappop(self._alarms)[1])
        changed, self._changed = self._changed, set()
        commands: list[Command] = []
        for key in sorted(changed):
            mutex = self._mutexes.get(key)
            if mutex is not None and not mutex.is_busy:
                commands += self._plan_one(mutex, now_s)
        commands += self._bring_others(now_s)
        return commands

    def next_look_s(self, now_s: float) -> float | None:
        """Return the seconds until ``plan`` may have something new to say although nothing was seen."""
        waits_s = [self._alarms[0][0] - now_s] if self._alarms else []
        bring_s = self._elsewhere.next_look_s(now_s)
        if bring_s is not None:
            waits_s.append(bring_s)
        return max(0.0, min(waits_s)) if waits_s else None

    def _plan_one(self, mutex: _Mutex, now_s: float) -> Iterator[Command]:
        if mutex.not_before_s > now_s:
            self._wake_at(mutex, mutex.not_before_s)
        elif mutex.holder and not mutex.has_stopped:
            yield from self._look_after_holder(mutex, now_s)
        else:
            yield from self._give_on(mutex, now_s)

    def _look_after_holder(self, mutex: _Mutex, now_s: float) -> Iterator[Command]:
        if mutex.holder in mutex.contenders or mutex.lease is None:
            mutex.inquiry = None
            return
        if mutex.inquiry is None:
            mutex.inquiry = Inquiry(due_s=now_s + SEEN_AGAIN_S)
        if mutex.inquiry.due_s > now_s:
            self._wake_at(mutex, mutex.inquiry.due_s)
        elif not mutex.inquiry.is_asked:
            mutex.inquiry.is_asked = mutex.is_busy = True
            yield Ask(mutex.lease)

    def _give_on(self, mutex: _Mutex, now_s: float) -> Iterator[Command]:
        candidate = mutex.first()
        if candidate is None:
            if mutex.lease is not None:
                mutex.is_busy = True
                yield Free(mutex.lease)
            elif not mutex.contenders:
                del self._mutexes[mutex.key]
            return
        vanished = mutex.contenders.get(mutex.last.uid) if mutex.lease is None else None
        if vanished is not None and not vanished.has_left(mutex.last):
            # It has ended, and its watch is late; or its Lease was deleted under it: then nobody else may have it.
            if mutex.vanished_s is None:
                mutex.vanished_s = now_s
            if now_s < mutex.vanished_s + SEEN_AGAIN_S:
                self._wake_at(mutex, mutex.vanished_s + SEEN_AGAIN_S)
                return
            candidate = vanished
        elif candidate.shard != self._me and not candidate.has_started:
            return  # it is being brought here
        mutex.is_busy = True
        yield Grant(candidate, mutex.lease)

    def _bring_others(self, now_s: float) -> Iterator[Command]:
        for contender in self._elsewhere.take(self._allowance.available(now_s), now_s, may_go=self._may_go):
            self._allowance.spend(1)
            yield Bring(contender)

    def _may_go(self, contender: Contender) -> bool:
        """Tell of one in another shard whether it may be moved: not if it holds the mutex, or may."""
        mutex = self._get(self._key_of[contender.uid])
        had_it = contender.uid == mutex.last.uid and not contender.has_left(mutex.last)
        return not contender.has_started and not had_it and contender.uid != mutex.holder

    def _wake_at(self, mutex: _Mutex, at_s: float) -> None:
        heapq.heappush(self._alarms, (at_s, mutex.key))

    def _get(self, key: str) -> _Mutex:
        mutex = self._mutexes.get(key)
        if mutex is None:
            mutex = self._mutexes[key] = _Mutex(key)
        return mutex


def _tenure_of(lease: Lease) -> _Tenure:
    return _Tenure(lease.spec.holder_identity, retries_of(lease))
