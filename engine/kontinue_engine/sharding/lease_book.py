"""Internal. What an observer knows about the Leases of one group, and for how long each has been silent.

Clocks of two machines are never compared: a Lease is timed from when *we* saw its holder renew. So every replica keeps
a book warm, and whoever becomes leader need not start counting anew. A book only suspects: that a shard is dead is
proved by taking the Lease away with its resourceVersion (``placement``), which fails if its holder lives. There is
nothing to take away where somebody has deleted a Lease that a replica held: it counts until it would have run out.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue_engine.sharding import leases


class ShardState(enum.Enum):
    """What a shard Lease says, as far as we can tell."""

    LIVE = "Live"
    """Renewed in time: it takes work."""
    DRAINING = "Draining"
    """Renewed in time, but its replica is about to stop: it takes no new work."""
    MISSING = "Missing"
    """Deleted, for example by hand, while its replica held it: that one lives, as far as can be told."""
    SILENT = "Silent"
    """Not renewed for its whole duration: probably dead."""
    RELEASED = "Released"
    """Its replica has stopped, in order."""
    EXPIRED = "Expired"
    """Its replica is dead: the leader has taken the Lease away."""


GONE = frozenset({ShardState.RELEASED, ShardState.EXPIRED})
"""Nobody has the shard: its Executions need another one."""


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """One shard, as its Lease tells.

    Attributes:
        name: shard id.
        state: as of the moment it was asked for.
        lease: as last seen.
        silent_for_s: since we saw it change.
    """

    name: str
    state: ShardState
    lease: Lease
    silent_for_s: float

    @property
    def incarnation(self) -> str:
        """Of its holder, or of its last one."""
        return self.lease.metadata.annotations.get(labels.INCARNATION, "")


class Sighting(msgspec.Struct, frozen=True):
    """A Lease as last seen.

    Attributes:
        lease: it.
        changed_at_s: when its holder was last seen to change it; monotonic.
        is_missing: it was deleted since, while a replica held it.
    """

    lease: Lease
    changed_at_s: float
    is_missing: bool = False

    def has_lapsed(self, now_s: float) -> bool:
        """Tell whether its holder has made no sign of life for longer than the Lease lasts."""
        return now_s - self.changed_at_s > self.lease.spec.lease_duration_seconds


class LeaseBook:
    """Leases of one group.

    Args:
        group: worker group.
    """

    def __init__(self, group: str) -> None:
        self._group = group
        self._sightings: dict[str, Sighting] = {}  # of Leases that replicas hold
        self._mutexes: dict[str, Sighting] = {}  # there may be thousands, and who looks for replicas looks often

    def replace(self, found: Iterable[Lease], now_s: float) -> None:
        """Take a list: what is not in it is gone."""
        self._mutexes.clear()
        names = set()
        for lease in found:
            self.observe(lease, now_s)
            names.add(lease.metadata.name)
        for name in self._sightings.keys() - names:
            self.forget(name)
        self._drop_missing(now_s)

    def observe(self, lease: Lease, now_s: float) -> None:
        """Take a Lease as it is now."""
        if leases.mutex_of(lease, self._group) is not None:
            self._mutexes[lease.metadata.name] = Sighting(lease, now_s)
            return
        known = self._sightings.get(lease.metadata.name)
        is_same = known is not None and _sign_of_life(known.lease) == _sign_of_life(lease)
        changed_at_s = known.changed_at_s if known is not None and is_same else now_s
        self._sightings[lease.metadata.name] = Sighting(lease, changed_at_s)

    def forget(self, name: str) -> None:
        """The Lease was deleted. One that a replica held is remembered: that one may not know yet."""
        self._mutexes.pop(name, None)
        known = self._sightings.get(name)
        if known is None:
            return
        if known.lease.spec.holder_identity:
            self._sightings[name] = Sighting(known.lease, known.changed_at_s, is_missing=True)
        else:
            del self._sightings[name]

    def get(self, name: str) -> Sighting | None:
        """Return the Lease of that name, also a missing one; None if there is none."""
        return self._sightings.get(name) or self._mutexes.get(name)

    def shards(self, now_s: float) -> list[Shard]:
        """Return all shards of the group, by name."""
        self._drop_missing(now_s)
        found = []
        for sighting in self._sightings.values():
            name = leases.shard_of(sighting.lease, self._group)
            if name is not None:
                found.append(_shard(name, sighting, now_s))
        return sorted(found, key=lambda shard: shard.name)

    def incarnations(self, now_s: float) -> frozenset[str]:
        """Return those of all processes that hold a Lease, also of silent ones: who is dead has been expired."""
        self._drop_missing(now_s)
        return frozenset(
            sighting.lease.metadata.annotations.get(labels.INCARNATION, "")
            for sighting in self._sightings.values()
            if sighting.lease.spec.holder_identity
        ) - {""}

    def _drop_missing(self, now_s: float) -> None:
        """Forget the missing Leases that would have run out by now."""
        for name, known in list(self._sightings.items()):
            if known.is_missing and known.has_lapsed(now_s):
                del self._sightings[name]


def _shard(name: str, sighting: Sighting, now_s: float) -> Shard:
    lease = sighting.lease
    if not lease.spec.holder_identity:
        state = ShardState.EXPIRED if leases.was_expired(lease) else ShardState.RELEASED
    elif sighting.is_missing:
        state = ShardState.MISSING
    elif sighting.has_lapsed(now_s):
        state = ShardState.SILENT
    else:
        state = ShardState.DRAINING if leases.is_draining(lease) else ShardState.LIVE
    return Shard(name=name, state=state, lease=lease, silent_for_s=now_s - sighting.changed_at_s)


def _sign_of_life(lease: Lease) -> object:
    """Return what a holder changes with each renewal; that somebody edited a label is no sign of life."""
    spec = lease.spec
    return spec.holder_identity, spec.renew_time, lease.metadata.annotations.get(labels.INCARNATION)
