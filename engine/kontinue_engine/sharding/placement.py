"""Internal. The leader's main duty: every live Execution of the group is in a live shard. A state machine without I/O.

Told what the watch of unassigned Executions shows, what sweeps of dead shards find, and how the writes that it asked
for went; ``plan`` says what to do now. Level-based: a lost answer, a conflict or a new leader only means that a sweep
finds it again. ``kontinue_engine.coordinator.placement`` carries it out.
"""

from __future__ import annotations

import math
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
        is_admitted: False while a limit holds it back.
    """

    uid: str
    name: str
    version: str
    mutex: str = ""
    is_admitted: bool = True


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
    """List the live Executions of these shards; without any: of all shards that are not in ``known``."""

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
"""In place of a shard id: those whose shard has no Lease at all."""


class _Burial(msgspec.Struct):
    """A shard without a replica, and how far its Executions have been moved."""

    since_s: float
    is_sweeping: bool = False
    is_swept: bool = False
    not_before_s: float = 0.0
    moving: int = 0


class Placement:
    """Which shard each Execution of the group goes to.

    Args:
        me: shard of the leader: Executions with a mutex go there.
        parked_delay_s: how long those that only wait are left to a replica that may come back: one Lease duration.
        allowance: of relabels of Executions that have a shard.
    """

    def __init__(self, me: str, *, parked_delay_s: float, allowance: Allowance) -> None:
        self._me = me
        self._parked_delay_s = parked_delay_s
        self._allowance = allowance
        self._turns = RoundRobin()
        self._newcomers: dict[str, Newcomer] = {}
        self._in_flight: set[str] = set()
        self._orphans = Orphans()
        self._burials: dict[str, _Burial] = {}
        self._expire_after_s: dict[str, float] = {}

    @property
    def waiting(self) -> int:
        """Number of Executions that have no live shard, as far as is known, and whose move is not under way."""
        return len(self._newcomers) + len(self._orphans)

    # What is seen.

    def replace_newcomers(self, found: Iterable[Newcomer]) -> None:
        """Take the list of all live Executions without a shard."""
        self._newcomers = {one.uid: one for one in found if one.uid not in self._in_flight}

    def observe(self, newcomer: Newcomer) -> None:
        """Take a live Execution without a shard, as it is now."""
        if newcomer.uid not in self._in_flight:
            self._newcomers[newcomer.uid] = newcomer

    def forget(self, uid: str) -> None:
        """It has a shard, has ended, or is gone."""
        self._newcomers.pop(uid, None)

    def wake(self, uid: str) -> None:
        """Something that a parked Execution may wait for has happened: it is moved without further delay."""
        self._orphans.wake(uid)

    # How it went.

    def swept(self, sweep: Sweep, found: Sequence[Found], now_s: float) -> None:
        """Take what a sweep has found."""
        burial = self._burials.get(sweep.shard)
        if burial is None:
            return  # its replica has come back meanwhile
        burial.is_sweeping = False
        burial.is_swept = True
        for one in found:
            if one.orphan.uid not in self._in_flight:
                self._orphans.add(one.orphan, self._due_s(one, burial, now_s))

    def failed(self, command: Command, now_s: float) -> None:
        """A command did not get through: it is decided anew, a little later."""
        match command:
            case Expire(shard=shard):
                self._expire_after_s[shard] = now_s + RETRY_S
            case Sweep(shard=shard):
                self._sweep_again(shard, now_s + RETRY_S)
            case Move(orphan=None):
                self._in_flight.discard(command.uid)
                self.observe(Newcomer(uid=command.uid, name=command.name, version=command.version, mutex=command.mutex))
            case Move():
                self._landed(command, now_s + RETRY_S)
            case RemoveLease():
                pass  # its turn comes again

    def done(self, command: Expire | Move | RemoveLease) -> None:
        """A command was carried out, or met something newer that the watch or a sweep will show."""
        match command:
            case Expire(shard=shard):
                self._expire_after_s.pop(shard, None)
            case Move():
                self._landed(command, 0.0)
            case RemoveLease():
                pass

    # What to do.

    def plan(self, shards: Sequence[Shard], now_s: float) -> list[Command]:
        """Return what is to be done now; each command is answered by ``done``, ``failed`` or ``swept``.

        Args:
            shards: all of the group, by name.
            now_s: monotonic time.
        """
        # While all are about to stop, the one that is left last may as well begin.
        live = _named(shards, ShardState.LIVE) or _named(shards, ShardState.DRAINING)
        return [
            *self._verdicts(shards, now_s),
            *self._sweeps(shards, now_s),
            *self._assignments(live),
            *self._reassignments(live, now_s),
        ]

    def next_look_s(self, now_s: float) -> float:
        """Return the seconds until ``plan`` may have something new to say although nothing was seen."""
        due_s = self._orphans.next_due_s()
        return RETRY_S if due_s is None else max(0.0, min(RETRY_S, max(due_s - now_s, self._allowance.wait_s())))

    def _verdicts(self, shards: Sequence[Shard], now_s: float) -> list[Command]:
        commands: list[Command] = []
        for shard in shards:
            if shard.state is not ShardState.SILENT:
                self._expire_after_s.pop(shard.name, None)
            elif self._expire_after_s.get(shard.name, -math.inf) <= now_s:
                self._expire_after_s[shard.name] = math.inf
                commands.append(Expire(shard.name, shard.lease))
        return commands

    def _sweeps(self, shards: Sequence[Shard], now_s: float) -> list[Command]:
        gone = {shard.name: shard for shard in shards if shard.state in GONE}
        for name in self._burials.keys() - gone.keys() - {STRAYS}:
            del self._burials[name]
            self._orphans.drop_shard(name)
        commands: list[Command] = []
        for name, shard in gone.items():
            burial = self._burials.setdefault(name, _Burial(since_s=now_s - shard.silent_for_s))
            if self._may_sweep(burial, now_s):
                commands.append(Sweep(name))
            elif self._is_empty(name, burial) and now_s - burial.since_s > KEEP_LEASES_S:
                burial.since_s = now_s
                commands.append(RemoveLease(name, shard.lease))
        strays = self._burials.setdefault(STRAYS, _Burial(since_s=now_s))
        strays.is_swept = strays.is_swept and strays.not_before_s > now_s
        if self._may_sweep(strays, now_s):
            strays.not_before_s = now_s + self._parked_delay_s
            commands.append(Sweep(STRAYS, tuple(shard.name for shard in shards)))
        return commands

    def _assignments(self, live: Sequence[str]) -> list[Command]:
        commands: list[Command] = []
        for newcomer in list(self._newcomers.values()):
            target = self._target(newcomer.mutex, live) if newcomer.is_admitted else None
            if target is not None:
                move = Move(newcomer.uid, newcomer.name, newcomer.version, shard=target, mutex=newcomer.mutex)
                commands.append(move)
                del self._newcomers[newcomer.uid]
                self._in_flight.add(newcomer.uid)
        return commands

    def _reassignments(self, live: Sequence[str], now_s: float) -> list[Command]:
        if not live:
            return []
        commands: list[Command] = []
        for orphan in self._orphans.take(now_s, self._allowance.available(now_s)):
            target = self._target(orphan.mutex, live)
            if target is not None:
                move = Move(orphan.uid, orphan.name, orphan.version, shard=target, mutex=orphan.mutex, orphan=orphan)
                commands.append(move)
                self._in_flight.add(orphan.uid)
                self._burials[orphan.shard].moving += 1
        self._allowance.spend(len(commands))
        return commands

    def _target(self, mutex: str, live: Sequence[str]) -> str | None:
        return self._me if mutex and self._me in live else self._turns.pick(live)

    def _due_s(self, found: Found, burial: _Burial, now_s: float) -> float:
        delay_s = self._parked_delay_s if found.wakes_in_s is None else min(found.wakes_in_s, self._parked_delay_s)
        return now_s if delay_s <= 0 else max(now_s, burial.since_s + delay_s)

    def _landed(self, move: Move, sweep_after_s: float) -> None:
        self._in_flight.discard(move.uid)
        burial = self._burials.get(move.orphan.shard) if move.orphan is not None else None
        if burial is not None and move.orphan is not None:
            burial.moving -= 1
            if not burial.moving and not self._orphans.count(move.orphan.shard):
                self._sweep_again(move.orphan.shard, sweep_after_s)

    def _sweep_again(self, shard: str, after_s: float) -> None:
        burial = self._burials.get(shard)
        if burial is not None:
            burial.is_sweeping = burial.is_swept = False
            burial.not_before_s = max(burial.not_before_s, after_s)

    def _is_empty(self, shard: str, burial: _Burial) -> bool:
        return burial.is_swept and not burial.moving and not self._orphans.count(shard)

    @staticmethod
    def _may_sweep(burial: _Burial, now_s: float) -> bool:
        if burial.is_swept or burial.is_sweeping or burial.not_before_s > now_s:
            return False
        burial.is_sweeping = True
        return True


def _named(shards: Sequence[Shard], state: ShardState) -> list[str]:
    return [shard.name for shard in shards if shard.state is state]
