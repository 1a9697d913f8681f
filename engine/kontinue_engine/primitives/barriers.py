"""Internal. What the coordinator does about one Barrier and its Arrivals. Pure: time is an argument.

Open and Failed are final, and written only over a state in which neither was. That it has failed is said only of all
Arrivals that there are when its time is over: one that came in time counts, however late it is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import Final

import msgspec

from kontinue.api.konductor.barriers import (
    MAX_EXPECTED,
    Arrival,
    ArrivalPhase,
    ArrivalStatus,
    Barrier,
    BarrierPhase,
    BarrierStatus,
)
from kontinue.api.konductor.group import lasting
from kontinue_engine.primitives import timeouts

MAX_TOLD_BYTES: Final = 512 * 1024
"""Of holders in a status: etcd refuses an object of more than 1.5 MiB, and holders may be long."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done now.

    Attributes:
        status: to be written; None if it may stay.
        recorded: Arrivals with the status that is to be written.
        look_again_at: when something is due although nothing has changed.
        needs_all: its time is over: decide again about all Arrivals that there are now.
        bad_timeout: why ``spec.timeout`` cannot be followed; empty if it can.
    """

    status: BarrierStatus | None = None
    recorded: tuple[Arrival, ...] = ()
    look_again_at: datetime | None = None
    needs_all: bool = False
    bad_timeout: str = ""


def decide(barrier: Barrier, arrivals: Sequence[Arrival], *, are_all: bool, now: datetime) -> Plan:
    """Return what is to be done about a Barrier.

    Args:
        barrier: as it is stored.
        arrivals: those that belong to it.
        are_all: they were read from the server after now; else there may be more than have been seen.
        now: wall time.
    """
    timeout, bad_timeout = lasting(barrier.spec.timeout)
    started_at = barrier.status.started_at or timeouts.started_at(barrier.metadata, now)
    recorded = tuple(_recorded(one, barrier, now) for one in sorted(arrivals, key=_turn) if one.status.phase is None)
    in_order = _firsts(arrivals)
    status = msgspec.structs.replace(
        barrier.status,
        arrived=len(in_order),
        phase=barrier.status.phase or BarrierPhase.WAITING,
        arrivals=_told(in_order),
        started_at=started_at,
    )
    ends_at = None if timeout is None else timeouts.after(started_at, timeout)
    needs_all = False
    if status.phase is BarrierPhase.WAITING:
        if sum(_is_in_time(one, ends_at) for one in in_order) >= barrier.required:
            status = msgspec.structs.replace(status, phase=BarrierPhase.OPEN, opened_at=now)
        elif ends_at is not None and ends_at <= now:
            needs_all = not are_all
            if are_all:
                status = msgspec.structs.replace(status, phase=BarrierPhase.FAILED)
    is_waiting = status.phase is BarrierPhase.WAITING
    return Plan(
        status=None if status == barrier.status else status,
        recorded=recorded,
        look_again_at=ends_at if is_waiting and not needs_all else None,
        needs_all=needs_all,
        bad_timeout=bad_timeout,
    )


def _firsts(arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
    """Return the first arrival of each holder, in order: any tool names them as it likes, and may do so twice."""
    firsts: dict[str, Arrival] = {}
    for one in sorted(arrivals, key=_turn):
        firsts.setdefault(one.spec.holder, one)
    return list(firsts.values())


def _told(in_order: Sequence[Arrival]) -> list[str]:
    """Return the holders of the first arrivals, as many as can be stored; all of them count."""
    holders = [one.spec.holder for one in in_order[:MAX_EXPECTED]]
    sizes = accumulate(len(msgspec.json.encode(holder)) + 1 for holder in holders)
    return [holder for holder, size in zip(holders, sizes, strict=True) if size <= MAX_TOLD_BYTES]


def _is_in_time(arrival: Arrival, ends_at: datetime | None) -> bool:
    created = arrival.metadata.creation_timestamp
    return ends_at is None or created is None or created <= ends_at


def _recorded(arrival: Arrival, barrier: Barrier, now: datetime) -> Arrival:
    arrived_at = arrival.metadata.creation_timestamp or now
    uid = barrier.metadata.uid
    status = ArrivalStatus(phase=ArrivalPhase.RECORDED, arrived_at=arrived_at, parent_uid=uid)
    return msgspec.structs.replace(arrival, status=status)


def _turn(arrival: Arrival) -> tuple[float, str]:
    created = arrival.metadata.creation_timestamp
    return created.timestamp() if created is not None else 0.0, arrival.metadata.name
