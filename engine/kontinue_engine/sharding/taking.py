"""Internal. Whether a Lease may be taken: the pure half of ``kontinue_engine.kube.lease``.

Given what is in the Lease, who asks, whether the holder's process lives (if it can be seen at all) and for how long
the Lease was seen unchanged, ``decide`` answers take, wait or refuse. Clocks of two machines are never compared:
``renewTime`` is shown to people and plays no part.
"""

from __future__ import annotations

import msgspec

from kontinue.api.meta import Lease
from kontinue_engine.sharding.leases import ReplicaIdentity, holder_of, is_held_by, was_expired


class Take(msgspec.Struct, frozen=True, tag=True):
    """Write yourself into it, with the observed resourceVersion. ``released`` tells how the last holder ended."""

    released: bool


class Wait(msgspec.Struct, frozen=True, tag=True):
    """The holder cannot be seen from here: look again, at most this much later, whether it renewed."""

    for_s: float


class Refuse(msgspec.Struct, frozen=True, tag=True):
    """Its holder lives, or did so lately: look again if you would rather wait."""


Decision = Take | Wait | Refuse


def can_see(lease: Lease, me: ReplicaIdentity) -> bool:
    """Tell whether the holder's pid means something here: same boot, same pid namespace, not another pod's."""
    holder = holder_of(lease)
    return holder.pid > 0 and bool(holder.boot_id) and holder.boot_id == me.boot_id and holder.pod_uid == me.pod_uid


def decide(
    lease: Lease | None,
    me: ReplicaIdentity,
    *,
    holder_lives: bool | None,
    silent_for_s: float,
    changed: bool,
) -> Decision:
    """Decide about a Lease as just read.

    Args:
        lease: None when there is none.
        me: who wants it.
        holder_lives: whether its process lives; None when it cannot be seen from here.
        silent_for_s: for how long it was seen without a sign of life.
        changed: whether a sign of life of this holder was seen.
    """
    if lease is None or not lease.spec.holder_identity:
        return Take(released=lease is None or not was_expired(lease))
    if is_held_by(lease, me):
        return Take(released=False)
    if holder_lives is False:
        return Take(released=False)
    if holder_lives is None and me.pod_uid and holder_of(lease).pod_uid == me.pod_uid:
        return Take(released=False)  # an earlier container of this pod: a pod runs one at a time
    remaining_s = lease.spec.lease_duration_seconds - silent_for_s
    if remaining_s <= 0:
        return Take(released=False)  # dead, cut off, or a frozen process that finds itself fenced when it wakes
    return Refuse() if holder_lives or changed else Wait(for_s=remaining_s)
