"""Internal. Whether a Lease may be taken: the pure half of ``kontinue_engine.kube.lease``.

Given what is in the Lease, who asks, whether the holder's process lives (if it can be seen at all) and for how long
the Lease was seen unchanged, ``decide`` answers take, wait or refuse. Clocks of two machines are never compared:
``renewTime`` is shown to people and plays no part.
"""

from __future__ import annotations

import msgspec

from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue_engine.kube.process_identity import LeaseIdentity


class Take(msgspec.Struct, frozen=True, tag=True):
    """Write yourself into it, with the observed resourceVersion. ``released`` tells how the last holder ended."""

    released: bool


class Wait(msgspec.Struct, frozen=True, tag=True):
    """The holder cannot be seen from here: look again, at most this much later, whether it renewed."""

    for_s: float


class Refuse(msgspec.Struct, frozen=True, tag=True):
    """Its holder lives."""


Decision = Take | Wait | Refuse


def holder_of(lease: Lease) -> LeaseIdentity:
    """Return who holds the Lease; fields that a foreign holder did not write are empty."""
    notes = lease.metadata.annotations
    pid = notes.get(labels.PID, "")
    return LeaseIdentity(
        shard=lease.spec.holder_identity,
        incarnation=notes.get(labels.INCARNATION, ""),
        host=notes.get(labels.HOST, ""),
        boot_id=notes.get(labels.BOOT_ID, ""),
        pid=int(pid) if pid.isdecimal() else 0,
        process_started=notes.get(labels.PROCESS_STARTED, ""),
    )


def is_mine(lease: Lease, me: LeaseIdentity) -> bool:
    """Tell whether this very process holds the Lease."""
    return bool(lease.spec.holder_identity) and lease.metadata.annotations.get(labels.INCARNATION) == me.incarnation


def can_see(lease: Lease, me: LeaseIdentity) -> bool:
    """Tell whether the holder's pid means something here: same boot, same pid namespace."""
    holder = holder_of(lease)
    return holder.pid > 0 and bool(holder.boot_id) and holder.boot_id == me.boot_id


def decide(
    lease: Lease | None,
    me: LeaseIdentity,
    *,
    holder_lives: bool | None,
    unchanged_for_s: float,
    changed: bool,
) -> Decision:
    """Decide about a Lease as just read.

    Args:
        lease: None when there is none.
        me: who wants it.
        holder_lives: whether its process lives; None when it cannot be seen from here.
        unchanged_for_s: for how long it was seen with this resourceVersion.
        changed: whether it was seen to change while held by this holder.
    """
    if lease is None or not lease.spec.holder_identity:
        return Take(released=True)
    if is_mine(lease, me):
        return Take(released=False)
    if holder_lives is not None:
        return Refuse() if holder_lives else Take(released=False)
    if changed:
        return Refuse()
    remaining_s = lease.spec.lease_duration_seconds - unchanged_for_s
    return Wait(for_s=remaining_s) if remaining_s > 0 else Take(released=False)
