"""Internal. In which states an object is that a condition of a Gate may be about. Pure; called by ``gates``.

One table says of each kind which states a phase of it is; a Semaphore is counted instead. That each state of
``kontinue.api.konductor.gates.STATES`` can be reached, and no other, is tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias, assert_never

from kontinue.api.batch import JobStatus
from kontinue.api.konductor.barriers import Barrier
from kontinue.api.konductor.gates import STATES, Gate, GateCondition, GateState, GateTarget
from kontinue.api.konductor.leases import Lease
from kontinue.api.konductor.mutexes import Mutex
from kontinue.api.konductor.onces import Once
from kontinue.api.konductor.semaphores import Semaphore
from kontinue.api.konductor.wait_groups import WaitGroup
from kontinue.api.meta import ApiStruct, ObjectMeta

NOT_LOOKED_AFTER: Final = "no coordinator has looked after it yet"


class Job(ApiStruct, frozen=True):
    """A Job of ``batch/v1``, as far as a condition asks."""

    metadata: ObjectMeta
    status: JobStatus = JobStatus()


Target: TypeAlias = Job | Semaphore | Barrier | Lease | Gate | Mutex | Once | WaitGroup

_States: TypeAlias = frozenset[GateState]

_BARRIER: Final[Mapping[str, _States]] = {
    "Waiting": frozenset({GateState.CLOSED, GateState.PENDING}),
    "Open": frozenset({GateState.OPEN}),
    "Failed": frozenset({GateState.CLOSED, GateState.FAILED}),
}
_TABLE: Final[Mapping[GateTarget, Mapping[str, _States]]] = {
    GateTarget.JOB: {
        "Complete": frozenset({GateState.COMPLETE}),
        "Failed": frozenset({GateState.FAILED}),
        "Active": frozenset({GateState.ACTIVE}),
        "Pending": frozenset({GateState.PENDING}),
    },
    GateTarget.BARRIER: _BARRIER,
    GateTarget.GATE: _BARRIER,
    GateTarget.LEASE: {
        "Available": frozenset({GateState.AVAILABLE}),
        "Held": frozenset({GateState.ACQUIRED}),
    },
    GateTarget.MUTEX: {
        "Unlocked": frozenset({GateState.UNLOCKED, GateState.AVAILABLE}),
        "Locked": frozenset({GateState.LOCKED, GateState.ACQUIRED}),
    },
    GateTarget.ONCE: {
        "Pending": frozenset({GateState.PENDING}),
        "Running": frozenset({GateState.ACTIVE}),
        "Executed": frozenset({GateState.COMPLETE, GateState.DONE}),
        "Failed": frozenset({GateState.FAILED}),
    },
    GateTarget.WAIT_GROUP: {
        "Waiting": frozenset({GateState.NON_ZERO}),
        "Done": frozenset({GateState.DONE, GateState.ZERO}),
    },
}
"""By the phase of an object."""


def unmet(condition: GateCondition, found: Target) -> str:
    """Return why a condition is not met by the object that it is about; empty if it is."""
    possible = STATES[condition.type]
    if condition.state not in possible:
        return f"never: a {condition.type} is one of {', '.join(possible)}"
    if isinstance(found, Semaphore):
        return _unmet_by_permits(condition, found)
    phase = _phase(found)
    if condition.state in _TABLE[condition.type].get(phase, frozenset()):
        return ""
    return f"it is {phase}" if phase else NOT_LOOKED_AFTER


def _unmet_by_permits(condition: GateCondition, semaphore: Semaphore) -> str:
    told, permits = semaphore.status, semaphore.spec.permits
    wanted = 1 if condition.value is None else condition.value
    is_free = condition.state is GateState.AVAILABLE
    counted, how = (told.available, "free") if is_free else (told.in_use, "held")
    if counted is None:
        return NOT_LOOKED_AFTER
    if counted >= wanted:
        return ""
    if wanted > permits:
        return f"never, as long as it has only {permits} permits: {wanted} of them are to be {how}"
    return f"fewer than {wanted} of its permits are {how}"


def _phase(found: Job | Barrier | Lease | Gate | Mutex | Once | WaitGroup) -> str:
    match found:
        case Job():
            return _job_phase(found)
        case Barrier():
            return found.status.phase or ""
        case Lease():
            return "Held" if found.status.holder else "Available"
        case Gate():
            return found.phase or ""
        case Mutex() | Once() | WaitGroup():
            return found.phase
        case _ as never:
            assert_never(never)


def _job_phase(job: Job) -> str:
    ends = (one.type for one in job.status.conditions if one.type in {"Complete", "Failed"} and one.status == "True")
    return next(ends, "Active" if job.status.active else "Pending")
