"""Internal. The leader's main duty: every live Execution of the group is in a live shard. A state machine without I/O.

Told what the watch of unassigned Executions shows, what sweeps of dead shards find, and how the writes that it asked
for went; ``plan`` says what to do now. Level-based: a lost answer, a conflict or a new leader only means that a sweep
finds it again. ``kontinue_engine.coordinator.placement`` carries it out.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from kontinue.api.meta import Lease
from kontinue_engine.sharding.assignment import Allowance, Orphan, Orphans, RoundRobin
from kontinue_engine.sharding.lease_book import GONE, Shard, ShardState

RETRY_S: Final = 2.0
"""Until a verdict or a sweep that failed is tried again. Judgement."""
KEEP_LEASES_S: Final = 600.0
"""How long the Lease of an empty dead shard is kept, for people who look. Judgement."""


class Newcomer(msgspec.Struct, frozen=True, kw_only=True):
    """A live Execution without a shard.

    Attributes:
        uid: identity.
        name: of the object.
        version: resourceVersion that the assignment must find.
        mutex: name of the mutex it needs, or empty.
    """

    uid: str
    name: str
    version: str
    mutex: str = ""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A live Execution that a sweep found in a shard without a replica.

    Attributes:
        orphan: it.
        wakes_in_s: seconds until a timer that it waits for fires; None if it waits for something else; 0 if it can run.
    """

    orphan: Orphan
    wakes_in_s: float | None = 0.0


class Expire(msgspec.Struct, frozen=True, tag=True):
    """Take the Lease from its silent holder, with the resourceVersion it has here."""

    shard: str
    lease: Lease


class Sweep(msgspec.Struct, frozen=True, tag=True):
    """List the live Executions of this shard; of ``STRAYS``: those of all shards that are not in ``known``."""

    shard: str
    known: tuple[str, ...] = ()


class Move(msgspec.Struct, frozen=True, tag=True):
    """Label an Execution with a shard, with its resourceVersion. ``orphan`` is None for one that had no shard."""

    uid: str
    name: str
    version: str
    shard: str
    mutex: str = ""
    orphan: Orphan | None = None


class RemoveLease(msgspec.Struct, frozen=True, tag=True):
    """Delete the Lease of a shard that has been empty for long."""

    shard: str
    lease: Lease


Command = Expire | Sweep | Move | RemoveLease

STRAYS: Final = ""
"""In place of a shard id: those whose shard has no Lease, and what came late to one that was dead and empty."""


class _Burial(msgspec.Struct):
    """A shard without a replica, and how far its Executions have been moved."""

    since_s: float
    incarnation: str = ""
    is_sweeping: bool = False
    is_swept: bool = False
    not_before_s: float = 0.0
    moving: set[str] = set()


class Placement:
    """Which shard each Execution of the group goes to.

    Args:
        me: shard of the leader: Executions with a mutex go there.
        parked_delay_s: how long those that only wait are left to a replica that may come back: one Lease duration.
        allowance: of relabels of Executions that have a shard.
        at_a_time: how many newcomers, and how many orphans, may be on their way. More would only wait for others, and
            keep verdicts and sweeps waiting; whose turn comes late goes to a shard that lives then.
    """

    def __init__(self, me: str, *, parked_delay_s: float, allowance: Allowance, at_a_time: int) -> None:
        self._me = me
        self._parked_delay_s = parked_delay_s
        self._allowance = allowance
        self._at_a_time = at_a_time
        self._turns = RoundRobin()
        self._newcomers: OrderedDict[str, Newcomer] = OrderedDict()  # whose first is found at once; not so a dict's
        self._failed: dict[str, Newcomer] = {}
        self._retries: deque[tuple[float, str]] = deque()
        self._in_flight: dict[str, Newcomer | None] = {}  # with what was seen of them meanwhile
        self._orphans_in_flight = 0
        self._orphans = Orphans()
        self._burials: dict[str, _Burial] = {}
        self._strays_known: frozenset[str] = frozenset()
        self._judged: dict[str, tuple[str, float]] = {}  # resourceVersion, and when it may be judged again
        self._has_live = False

    @property
    def waiting(self) -> int:
        """Number of Executions that have no live shard, as far as is known, and whose move is not under way."""
        return len(self._newcomers) + len(self._failed) + len(self._orphans)

    # What is seen.

    def replace_newcomers(self, found: Iterable[Newcomer]) -> None:
        """Take the list of all live Executions without a shard."""
        self._newcomers.clear()
        self._failed.clear()
        for uid in self._in_flight:
            self._in_flight[uid] = None
        for one in found:
            self.observe(one)

    def observe(self, newcomer: Newcomer) -> None:
        """Take a live Execution without a shard, as it is now."""
        if newcomer.uid in self._in_flight:
            self._in_flight[newcomer.uid] = newcomer
        else:
            self._failed.pop(newcomer.uid, None)
            self._orphans.discard(newcomer.uid)
            self._newcomers[newcomer.uid] = newcomer

    def forget(self, uid: str) -> None:
        """It has a shard, has ended, or is gone."""
        self._newcomers.pop(uid, None)
        self._failed.pop(uid, None)
        if uid in self._in_flight:
            self._in_flight[uid] = None

    def wake(self, uid: str) -> None:
        """Something that a parked Execution may wait for has happened: it is moved without further delay."""
        self._orphans.wake(uid)

    # How it went.

    def swept(self, sweep: Sweep, found: Sequence[Found], now_s: float) -> None:
        """Take what a sweep has found."""
        burial = self._burials.get(sweep.shard)
        if burial is None:
            return  # its replica has come back meanwhile
        if sweep.shard == STRAYS and not self._strays_known <= frozenset(sweep.known):
            return  # a shard has got its Lease meanwhile: another sweep is under way
        burial.is_sweeping = False
        burial.is_swept = True
        for one in found:
            if not any(one.orphan.uid in known for known in (self._in_flight, self._newcomers, self._failed)):
                self._orphans.add(one.orphan, self._due_s(one, burial, now_s))

    def failed(self, command: Command, now_s: float) -> None:
        """A command did not get through: it is decided anew, a little later."""
        match command:
            case Expire(shard=shard, lease=lease):
                version = lease.metadata.resource_version
                if self._judged.get(shard) == (version, math.inf):
                    self._judged[shard] = version, now_s + RETRY_S
            case Sweep(shard=shard):
                self._sweep_again(shard, now_s + RETRY_S)
            case Move():
                self._landed(command, now_s + RETRY_S)
                if command.orphan is None and command.uid not in self._newcomers:
                    self._failed[command.uid] = Newcomer(
                        uid=command.uid, name=command.name, version=command.version, mutex=command.mutex
                    )
                    self._retries.append((now_s + RETRY_S, command.uid))
            case _:
                pass  # the turn of a RemoveLease comes again

    def done(self, command: Expire | Move | RemoveLease) -> None:
        """A command was carried out, or met something newer that the watch or a sweep will show."""
        if isinstance(command, Move):
            self._landed(command, 0.0)

    # What to do.

    def plan(self, shards: Sequence[Shard], now_s: float) -> list[Command]:
        """Return what is to be done now; each command is answered by ``done``, ``failed`` or ``swept``.

        Args:
            shards: all of the group, by name.
            now_s: monotonic time.
        """
        # While all are about to stop, the one that is left last may as well begin.
        live = _named(shards, ShardState.LIVE) or _named(shards, ShardState.DRAINING)
        self._has_live = bool(live)
        return [
            *self._verdicts(shards, now_s),
            *self._sweeps(shards, now_s),
            *self._search_strays(shards, now_s),
            *self._assignments(live, now_s),
            *self._reassignments(live, now_s),
        ]

    def next_look_s(self, now_s: float) -> float:
        """Return the seconds until ``plan`` may have something new to say although nothing was seen."""
        due_s = self._orphans.next_due_s()
        if due_s is None or not self._has_live or self._orphans_in_flight >= self._at_a_time:
            return RETRY_S
        return max(0.0, min(RETRY_S, max(due_s - now_s, self._allowance.wait_s())))

    def _verdicts(self, shards: Sequence[Shard], now_s: float) -> list[Command]:
        for name in self._judged.keys() - {shard.name for shard in shards if shard.state is ShardState.SILENT}:
            del self._judged[name]
        commands: list[Command] = []
        for shard in shards:
            if shard.state is ShardState.SILENT:
                version = shard.lease.metadata.resource_version
                judged, again_s = self._judged.get(shard.name, ("", math.inf))
                # After a verdict that was refused its holder lives, and the watch will show it.
                if judged != version or again_s <= now_s:
                    self._judged[shard.name] = version, math.inf
                    commands.append(Expire(shard.name, shard.lease))
        return commands

    def _sweeps(self, shards: Sequence[Shard], now_s: float) -> list[Command]:
        gone = {shard.name: shard for shard in shards if shard.state in GONE}
        for name in self._burials.keys() - {STRAYS}:
            if name not in gone or gone[name].incarnation != self._burials[name].incarnation:
                del self._burials[name]  # its replica has come back; perhaps only to go again
                self._orphans.drop_shard(name)
        commands: list[Command] = []
        for name, shard in gone.items():
            since_s = now_s - shard.silent_for_s
            burial = self._burials.setdefault(name, _Burial(since_s=since_s, incarnation=shard.incarnation))
            if self._may_sweep(burial, now_s):
                commands.append(Sweep(name))
            elif self._is_empty(name, burial) and now_s - burial.since_s > KEEP_LEASES_S:
                burial.since_s = now_s
                commands.append(RemoveLease(name, shard.lease))
        return commands

    def _search_strays(self, shards: Sequence[Shard], now_s: float) -> list[Command]:
        strays = self._burials.setdefault(STRAYS, _Burial(since_s=now_s))
        known = tuple(shard.name for shard in shards if not self._is_over(shard.name, now_s))
        if self._strays_known.issuperset(known):
            strays.is_swept = strays.is_swept and strays.not_before_s > now_s
        else:
            self._orphans.drop_shard(STRAYS)  # some of them may be in a shard that has got its Lease
            self._sweep_again(STRAYS, 0.0)
            strays.not_before_s = now_s
        if not self._may_sweep(strays, now_s):
            return []
        strays.not_before_s = now_s + self._parked_delay_s
        self._strays_known = frozenset(known)
        return [Sweep(STRAYS, known)]

    def _assignments(self, live: Sequence[str], now_s: float) -> list[Command]:
        while self._retries and self._retries[0][0] <= now_s:
            failed = self._failed.pop(self._retries.popleft()[1], None)
            if failed is not None:
                self.observe(failed)
        if not live:
            return []
        commands: list[Command] = []
        while self._newcomers and len(self._in_flight) - self._orphans_in_flight < self._at_a_time:
            uid, newcomer = self._newcomers.popitem(last=False)
            target = self._target(newcomer.mutex, live)
            commands.append(Move(uid, newcomer.name, newcomer.version, shard=target, mutex=newcomer.mutex))
            self._in_flight[uid] = None
        return commands

    def _reassignments(self, live: Sequence[str], now_s: float) -> list[Command]:
        if not live:
            return []
        commands: list[Command] = []
        room = self._at_a_time - self._orphans_in_flight
        for orphan in self._orphans.take(now_s, min(room, self._allowance.available(now_s))):
            target = self._target(orphan.mutex, live)
            move = Move(orphan.uid, orphan.name, orphan.version, shard=target, mutex=orphan.mutex, orphan=orphan)
            commands.append(move)
            self._in_flight[orphan.uid] = None
            self._burials[orphan.shard].moving.add(orphan.uid)
        self._allowance.spend(len(commands))
        self._orphans_in_flight += len(commands)
        return commands

    def _target(self, mutex: str, live: Sequence[str]) -> str:
        return self._me if mutex and self._me in live else self._turns.pick(live)

    def _due_s(self, found: Found, burial: _Burial, now_s: float) -> float:
        wakes_at_s = math.inf if found.wakes_in_s is None else now_s + found.wakes_in_s
        return max(now_s, min(wakes_at_s, burial.since_s + self._parked_delay_s))

    def _landed(self, move: Move, sweep_after_s: float) -> None:
        seen = self._in_flight.pop(move.uid, None)
        self._orphans_in_flight -= move.orphan is not None
        if seen is not None and seen.version != move.version:
            self.observe(seen)
        self._sweep_again(move.shard, sweep_after_s)  # if it has died meanwhile
        burial = self._burials.get(move.orphan.shard) if move.orphan is not None else None
        if burial is not None and move.orphan is not None:
            burial.moving.discard(move.uid)
            if not burial.moving and not self._orphans.count(move.orphan.shard):
                self._sweep_again(move.orphan.shard, sweep_after_s)

    def _sweep_again(self, shard: str, after_s: float) -> None:
        burial = self._burials.get(shard)
        if burial is not None:
            burial.is_sweeping = burial.is_swept = False
            burial.not_before_s = max(burial.not_before_s, after_s)

    def _is_empty(self, shard: str, burial: _Burial) -> bool:
        return burial.is_swept and not burial.moving and not self._orphans.count(shard)

    def _is_over(self, shard: str, now_s: float) -> bool:
        """Tell whether a shard is long dead and empty, so that its own sweeps have ended."""
        burial = self._burials.get(shard)
        return burial is not None and self._is_empty(shard, burial) and now_s - burial.since_s > self._parked_delay_s

    @staticmethod
    def _may_sweep(burial: _Burial, now_s: float) -> bool:
        if burial.is_swept or burial.is_sweeping or burial.not_before_s > now_s:
            return False
        burial.is_sweeping = True
        return True


def _named(shards: Sequence[Shard], state: ShardState) -> list[str]:
    return [shard.name for shard in shards if shard.state is state]
