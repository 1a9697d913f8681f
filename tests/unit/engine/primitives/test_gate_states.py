"""Which states objects are in, for all kinds and states that a condition of a Gate can name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pytest

from kontinue.api.batch import JobStatus
from kontinue.api.konductor.barriers import Barrier, BarrierPhase, BarrierSpec, BarrierStatus
from kontinue.api.konductor.gates import (
    STATES,
    Gate,
    GateCondition,
    GateOverride,
    GatePhase,
    GateSpec,
    GateState,
    GateStatus,
    GateTarget,
)
from kontinue.api.konductor.leases import Lease, LeaseSpec, LeaseStatus
from kontinue.api.konductor.mutexes import Mutex, MutexStatus
from kontinue.api.konductor.onces import Once, OnceStatus
from kontinue.api.konductor.semaphores import Semaphore, SemaphoreSpec, SemaphoreStatus
from kontinue.api.konductor.wait_groups import WaitGroup, WaitGroupStatus
from kontinue.api.meta import Condition, ObjectMeta
from kontinue_engine.primitives.gate_states import Job, Target, unmet

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
META: Final = ObjectMeta(name="it")


def job(*, active: int = 0, end: str = "") -> Job:
    conditions = [Condition(type=end, status="True")] if end else [Condition(type="Failed", status="False")]
    return Job(metadata=META, status=JobStatus(active=active, conditions=conditions))


def semaphore(available: int | None, in_use: int | None = None, permits: int = 3) -> Semaphore:
    status = SemaphoreStatus(available=available, in_use=in_use)
    return Semaphore(metadata=META, spec=SemaphoreSpec(permits=permits), status=status)


def barrier(phase: BarrierPhase | None) -> Barrier:
    return Barrier(metadata=META, spec=BarrierSpec(expected=1), status=BarrierStatus(phase=phase))


def gate(phase: GatePhase | None, override: GateOverride | None = None) -> Gate:
    return Gate(metadata=META, spec=GateSpec(conditions=[], override=override), status=GateStatus(phase=phase))


OBJECTS: Final[dict[GateTarget, list[tuple[Target, str]]]] = {
    GateTarget.JOB: [
        (job(), "Pending"),
        (job(active=2), "Active"),
        (job(end="Complete"), "Complete"),
        (job(active=1, end="Failed"), "Failed"),
    ],
    GateTarget.SEMAPHORE: [
        (semaphore(None), ""),
        (semaphore(3, 0), "Available"),
        (semaphore(1, 2), "Available Acquired"),
        (semaphore(0, 3), "Acquired"),
    ],
    GateTarget.BARRIER: [
        (barrier(None), ""),
        (barrier(BarrierPhase.WAITING), "Closed Pending"),
        (barrier(BarrierPhase.OPEN), "Open"),
        (barrier(BarrierPhase.FAILED), "Closed Failed"),
    ],
    GateTarget.LEASE: [
        (Lease(metadata=META, spec=LeaseSpec()), "Available"),
        (Lease(metadata=META, spec=LeaseSpec(), status=LeaseStatus(holder="me")), "Acquired"),
    ],
    GateTarget.GATE: [
        (gate(None), ""),
        (gate(GatePhase.WAITING), "Closed Pending"),
        (gate(GatePhase.OPEN), "Open"),
        (gate(GatePhase.FAILED), "Closed Failed"),
        (gate(GatePhase.FAILED, GateOverride.OPEN), "Open"),
        (gate(GatePhase.OPEN, GateOverride.CLOSED), "Closed Pending"),
    ],
    GateTarget.MUTEX: [
        (Mutex(metadata=META), "Unlocked Available"),
        (Mutex(metadata=META, status=MutexStatus(holder="me")), "Locked Acquired"),
    ],
    GateTarget.ONCE: [
        (Once(metadata=META), "Pending"),
        (Once(metadata=META, status=OnceStatus(executor="me")), "Active"),
        (Once(metadata=META, status=OnceStatus(executed=True, executed_at=NOW)), "Complete Done"),
        (Once(metadata=META, status=OnceStatus(failure="no")), "Failed"),
    ],
    GateTarget.WAIT_GROUP: [
        (WaitGroup(metadata=META), "Done Zero"),
        (WaitGroup(metadata=META, status=WaitGroupStatus(counter=1)), "NonZero"),
    ],
}
"""Objects of each kind, and the states that they are in."""


def condition(target: GateTarget, state: GateState, value: int | None = None) -> GateCondition:
    return GateCondition(type=target, name="it", state=state, value=value)


@pytest.mark.parametrize("state", GateState)
@pytest.mark.parametrize("target", GateTarget)
def test_each_state_of_each_kind(target: GateTarget, state: GateState):
    """It is met by the objects that are in it, and by no other; one that no object can be in is said to be so."""
    for found, states in OBJECTS[target]:
        why = unmet(condition(target, state), found)
        assert (why == "") == (state in states.split()), (found, why)
        assert why.startswith("never") == (state not in STATES[target])


@pytest.mark.parametrize("target", GateTarget)
def test_every_state_that_is_accepted_can_be_met(target: GateTarget):
    """And every object that a coordinator has seen is in one of them."""
    seen = {state for _, states in OBJECTS[target] for state in states.split()}
    assert seen == set(STATES[target])


def test_permits_are_counted():
    """One by default; 0 asks only that there is such a Semaphore."""
    found = semaphore(2, 1)
    for state, most in ((GateState.AVAILABLE, 2), (GateState.ACQUIRED, 1)):
        assert [unmet(condition(GateTarget.SEMAPHORE, state, number), found) == "" for number in range(4)] == [
            number <= most for number in range(4)
        ]
    assert "fewer than 3 of its permits are free" in unmet(
        condition(GateTarget.SEMAPHORE, GateState.AVAILABLE, 3), found
    )
    never = unmet(condition(GateTarget.SEMAPHORE, GateState.AVAILABLE, 4), found)
    assert never == "never, as long as it has only 3 permits: 4 of them are to be free"


def test_what_is_not_met_is_said():
    """By the phase, or that there is none yet."""
    assert unmet(condition(GateTarget.BARRIER, GateState.OPEN), barrier(BarrierPhase.WAITING)) == "it is Waiting"
    assert unmet(condition(GateTarget.JOB, GateState.COMPLETE), job(end="Failed")) == "it is Failed"
    for found, target in ((barrier(None), GateTarget.BARRIER), (gate(None), GateTarget.GATE)):
        assert unmet(condition(target, GateState.OPEN), found) == "no coordinator has looked after it yet"
    why = unmet(condition(GateTarget.MUTEX, GateState.OPEN), Mutex(metadata=META))
    assert why == "never: a Mutex is one of Locked, Unlocked, Acquired, Available"
