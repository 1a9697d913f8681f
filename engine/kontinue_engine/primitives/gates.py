"""Internal. What the coordinator does about one Gate. Pure: time is an argument.

Open and Failed are for good, unless somebody overrides them, and are decided only by what the server was asked for just
then: what several watches have shown need never have been so at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from kontinue.api.konductor.gates import (
    GATES_FROM,
    MAX_MESSAGE,
    Gate,
    GateCondition,
    GateConditionStatus,
    GatePhase,
    GateState,
    GateStatus,
    GateTarget,
)
from kontinue.api.konductor.group import lasting
from kontinue_engine.primitives import timeouts
from kontinue_engine.primitives.gate_states import Target, unmet


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done now.

    Attributes:
        status: to be written; None if it may stay.
        look_again_at: when something is due although nothing has changed.
        needs_fresh: it would open or fail: decide again about what the server says now.
        bad_timeout: why ``spec.timeout`` cannot be followed; empty if it can.
    """

    status: GateStatus | None = None
    look_again_at: datetime | None = None
    needs_fresh: bool = False
    bad_timeout: str = ""


def decide(gate: Gate, conditions: Sequence[GateConditionStatus], *, are_fresh: bool, now: datetime) -> Plan:
    """Return what is to be done about a Gate.

    Args:
        gate: as it is stored.
        conditions: of its spec, in order.
        are_fresh: the server was asked for them after now; else it may know better.
        now: wall time.
    """
    timeout, bad_timeout = lasting(gate.spec.timeout)
    told = gate.status
    started_at = told.started_at or timeouts.started_at(gate.metadata, now)
    ends_at = None if timeout is None else timeouts.after(started_at, timeout)
    phase = gate.phase or GatePhase.WAITING
    needs_fresh = False
    if phase is GatePhase.WAITING and gate.spec.override is None:
        is_met = all(one.met for one in conditions)
        if is_met or (ends_at is not None and ends_at <= now):
            needs_fresh = not are_fresh
            if are_fresh:
                phase = GatePhase.OPEN if is_met else GatePhase.FAILED
    known = told.condition_statuses if is_settled(gate) else list(conditions)
    status = GateStatus(
        phase=phase,
        condition_statuses=known,
        met=f"{sum(one.met for one in known)}/{len(known)}",
        opened_at=_opened_at(told, now) if phase is GatePhase.OPEN else None,
        started_at=started_at,
        override=gate.spec.override,
    )
    waits = phase is GatePhase.WAITING and gate.spec.override is None and not needs_fresh
    return Plan(
        status=None if needs_fresh or status == told else status,
        look_again_at=ends_at if waits else None,
        needs_fresh=needs_fresh,
        bad_timeout=bad_timeout,
    )


def is_settled(gate: Gate) -> bool:
    """Tell whether its conditions matter no more, and stand in its status as they were."""
    return gate.phase in {GatePhase.OPEN, GatePhase.FAILED} and gate.status.phase is gate.phase


def condition_status(gate: Gate, condition: GateCondition, found: Target | str | None) -> GateConditionStatus:
    """Return whether a condition of a Gate is met.

    Args:
        gate: whose it is.
        condition: of its spec.
        found: what it is about, or why that cannot be read; None: there is none.
    """
    if _is_about(gate, condition, gate):
        why = "never, but by hand: the Gate would wait for itself"
    elif isinstance(found, str):
        why = found
    elif found is None or not _may_ask(gate, found):
        why = _not_to_be_had(gate, condition)
    elif (why := unmet(condition, found)) and isinstance(found, Gate) and _wait_for_each_other(gate, condition, found):
        why += " for this Gate: somebody has to open one of them"
    return GateConditionStatus(
        type=condition.type,
        name=condition.name,
        state=condition.state,
        namespace=condition.namespace,
        met=not why,
        message=why[:MAX_MESSAGE],
    )


def _not_to_be_had(gate: Gate, condition: GateCondition) -> str:
    """Return what is said of an object that is not there: the same as of one that nobody here may ask about."""
    home = gate.metadata.namespace
    if condition.namespace in {"", home}:
        return f"there is no {condition.type} {condition.name}"
    return (
        f"there is no {condition.type} {condition.name} in {condition.namespace}, or its annotation {GATES_FROM} does "
        f"not name {home}"
    )


def _is_about(asking: Gate, condition: GateCondition, gate: Gate) -> bool:
    """Tell whether a Gate asks, by one of its conditions, about another one, or itself."""
    place = (condition.namespace or asking.metadata.namespace, condition.name)
    return condition.type is GateTarget.GATE and place == (gate.metadata.namespace, gate.metadata.name)


def _wait_for_each_other(gate: Gate, condition: GateCondition, other: Gate) -> bool:
    """Tell whether a Gate that is asked to be open waits for the one that asks to be open."""
    back = (one for one in other.spec.conditions if one.state is GateState.OPEN and _is_about(other, one, gate))
    return other.phase is GatePhase.WAITING and condition.state is GateState.OPEN and any(back)


def _may_ask(gate: Gate, found: Target) -> bool:
    home = gate.metadata.namespace
    allowed = found.metadata.annotations.get(GATES_FROM, "").split(",")
    return found.metadata.namespace == home or not {"*", home}.isdisjoint(one.strip() for one in allowed)


def _opened_at(told: GateStatus, now: datetime) -> datetime:
    return told.opened_at if told.opened_at is not None and told.phase is GatePhase.OPEN else now
