"""Internal. What a worker group's Leases are called, and what they say.

There are three kinds, all in the group's namespace: one per shard, whose holder is the replica that has the shard; one
for leadership; and one per mutex, whose holder is an Execution (its uid). Sources: docs of sharding, design section 8.
"""

from __future__ import annotations

import hashlib
import math
import re
from datetime import datetime
from typing import Final

import msgspec

from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue_engine.sharding.fates import STOPPING_S

MARGIN_S: Final = 5.0
"""Stop this long before others may take over: a status write takes less. Judgement."""
MIN_RENEW_S: Final = 0.5
"""Each renewal is a write. Judgement."""
MIN_DURATION_S: Final = math.ceil(MARGIN_S + 2 * MIN_RENEW_S)
"""The shortest Lease that outlives one lost renewal."""

_SHARD_ID: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class LeaseTimes(msgspec.Struct, frozen=True):
    """How long a Lease lasts without a renewal, and what follows from that, in seconds.

    The defaults are those of the reference (sharding).

    Attributes:
        duration_s: a Lease lasts.
        renew_s: between two renewals.
        stopping_s: a replica that lives takes at most to stop what has ended, and to say so.

    Raises:
        ValueError: two renewals do not fit in the time until its holder must stop writing.
    """

    duration_s: int = 40
    renew_s: float = 10.0
    stopping_s: float = STOPPING_S

    def __post_init__(self) -> None:
        if self.duration_s < MIN_DURATION_S:
            raise ValueError(
                f"a Lease of {self.duration_s} s is too short: the shortest that can be renewed in time lasts "
                f"{MIN_DURATION_S} s, because its holder stops {MARGIN_S:g} s before the end"
            )
        longest_s = (self.duration_s - MARGIN_S) / 2
        if not MIN_RENEW_S <= self.renew_s <= longest_s:
            raise ValueError(
                f"a Lease of {self.duration_s} s cannot be kept by a renewal every {self.renew_s:g} s: it must be at "
                f"least {MIN_RENEW_S:g} s and at most {longest_s:g} s, half of the duration less {MARGIN_S:g} s, "
                "because one lost renewal must not cost the Lease"
            )

    @property
    def patience_s(self) -> float:
        """How long something may run after its end if nobody says that it has stopped: see ``fates.Inquiry``."""
        return self.duration_s + self.stopping_s


class ReplicaIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """A replica, as it writes itself into its Leases.

    Attributes:
        shard: its shard id: the pod's host name unless overridden.
        incarnation: random id of the process.
        host: host name, for people.
        boot_id: one boot and one pid namespace of a machine: where ``pid`` means something.
        pid: of the supervisor.
        process_started: tells a reused pid from the same process.
        pod_uid: of its pod; empty outside of Kubernetes.
        build: digest of the user's code; empty where it does not matter.
    """

    shard: str
    incarnation: str
    host: str = ""
    boot_id: str = ""
    pid: int = 0
    process_started: str = ""
    pod_uid: str = ""
    build: str = ""


def is_shard_id(text: str) -> bool:
    """Tell whether ``text`` can name a shard: a label value that may stand in the name of a Lease."""
    return len(text) <= labels.MAX_LABEL_VALUE_LENGTH and _SHARD_ID.fullmatch(text) is not None


def leader_lease_name(group: str) -> str:
    """Return the name of the Lease that elects the group's leader."""
    return f"kontinue-leader.{group}"


def shard_lease_name(group: str, shard: str) -> str:
    """Return the name of the Lease of one shard; groups contain no dots, so two groups never share one."""
    return f"{_shard_prefix(group)}{shard}"


def shard_of(lease: Lease, group: str) -> str | None:
    """Return the shard whose Lease this is; None for any other Lease."""
    name = lease.metadata.name
    prefix = _shard_prefix(group)
    return name.removeprefix(prefix) if name.startswith(prefix) else None


def mutex_lease_name(group: str, mutex: str) -> str:
    """Return the name of the Lease of one mutex. Scope: namespace and group.

    Any text may name a mutex, a Lease not: what does not fit is written as far as it does, and hashed.
    """
    return f"{_mutex_prefix(group)}{mutex_key(mutex)}"


def mutex_of(lease: Lease, group: str) -> str | None:
    """Return the key of the mutex whose Lease this is; None for any other Lease."""
    name = lease.metadata.name
    prefix = _mutex_prefix(group)
    return name.removeprefix(prefix) if name.startswith(prefix) else None


def retries_of(lease: Lease) -> int:
    """Return ``status.observedRetries`` of the holder of a mutex, as of when it got it."""
    return labels.number_in(lease.metadata.annotations.get(labels.OBSERVED_RETRIES)) or 0


def mutex_key(mutex: str) -> str:
    """Return the form of a mutex' name that object names and label values can carry, equal for equal names only."""
    fits = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in mutex.lower())
    short = fits[: labels.MAX_LABEL_VALUE_LENGTH - 11].strip("-")
    if short == mutex:
        return mutex
    digest = hashlib.blake2b(mutex.encode(), digest_size=5).hexdigest()
    return f"{short}-{digest}" if short else digest


def holder_of(lease: Lease) -> ReplicaIdentity:
    """Return who holds the Lease of a shard or of leadership; what a foreign holder did not write is empty."""
    notes = lease.metadata.annotations
    return ReplicaIdentity(
        shard=lease.spec.holder_identity,
        incarnation=notes.get(labels.INCARNATION, ""),
        host=notes.get(labels.HOST, ""),
        boot_id=notes.get(labels.BOOT_ID, ""),
        pid=labels.number_in(notes.get(labels.PID)) or 0,
        process_started=notes.get(labels.PROCESS_STARTED, ""),
        pod_uid=notes.get(labels.POD_UID, ""),
        build=notes.get(labels.BUILD, ""),
    )


def is_held_by(lease: Lease, replica: ReplicaIdentity) -> bool:
    """Tell whether this very process holds the Lease."""
    return (
        bool(lease.spec.holder_identity) and lease.metadata.annotations.get(labels.INCARNATION) == replica.incarnation
    )


def was_expired(lease: Lease) -> bool:
    """Tell of a Lease that nobody holds whether it was taken away from its holder, which had not given it back."""
    return labels.EXPIRED_BY in lease.metadata.annotations


def is_draining(lease: Lease) -> bool:
    """Tell whether the holder of a shard wants no more work."""
    return labels.DRAINING in lease.metadata.annotations


def micro_time(now: datetime) -> datetime:
    """Return the time as a Lease may carry it.

    kube-apiserver's MicroTime wants six digits after the second, which msgspec leaves out for a whole one.
    """
    return now if now.microsecond else now.replace(microsecond=1)


def _shard_prefix(group: str) -> str:
    return f"kontinue-shard.{group}."


def _mutex_prefix(group: str) -> str:
    return f"kontinue-mutex.{group}."
