"""Coordination primitives of ``konductor.io/v1`` for Python: docs/coordination.md and its neighbours."""

from typing import TYPE_CHECKING

from kontinue._on_demand import on_demand

if TYPE_CHECKING:
    from kontinue.api.konductor.barriers import BarrierPhase, BarrierStatus
    from kontinue.api.konductor.gates import GateCondition, GatePhase, GateState, GateStatus, GateTarget
    from kontinue.api.konductor.group import Holder, HolderKind
    from kontinue.api.konductor.leases import LeasePhase, LeaseRequestPhase, LeaseStatus
    from kontinue.api.konductor.mutexes import MutexPhase, MutexStatus
    from kontinue.api.konductor.onces import OncePhase, OnceStatus
    from kontinue.api.konductor.rwmutexes import RWMutexPhase, RWMutexStatus
    from kontinue.api.konductor.semaphores import PermitPhase, SemaphorePhase, SemaphoreStatus
    from kontinue.api.konductor.wait_groups import WaitGroupPhase, WaitGroupStatus
    from kontinue.sync.blocking.barrier import SyncBarrier
    from kontinue.sync.blocking.gate import SyncGate
    from kontinue.sync.blocking.lease import SyncLease
    from kontinue.sync.blocking.mutex import SyncMutex
    from kontinue.sync.blocking.once import SyncOnce
    from kontinue.sync.blocking.rwmutex import SyncRWMutex
    from kontinue.sync.blocking.semaphore import SyncHeldPermit, SyncSemaphore
    from kontinue.sync.blocking.wait_group import SyncWaitGroup
    from kontinue.sync.granted.lease import Lease
    from kontinue.sync.granted.permits import HeldPermit
    from kontinue.sync.granted.semaphore import Semaphore
    from kontinue.sync.holding.held import Lock, Scope
    from kontinue.sync.locks.mutex import Mutex
    from kontinue.sync.locks.once import Once
    from kontinue.sync.locks.rwmutex import RWMutex
    from kontinue.sync.openings.barrier import Barrier
    from kontinue.sync.openings.gate import Gate
    from kontinue.sync.wait_groups.wait_group import WaitGroup

__all__ = [
    "Barrier",
    "BarrierPhase",
    "BarrierStatus",
    "Gate",
    "GateCondition",
    "GatePhase",
    "GateState",
    "GateStatus",
    "GateTarget",
    "HeldPermit",
    "Holder",
    "HolderKind",
    "Lease",
    "LeasePhase",
    "LeaseRequestPhase",
    "LeaseStatus",
    "Lock",
    "Mutex",
    "MutexPhase",
    "MutexStatus",
    "Once",
    "OncePhase",
    "OnceStatus",
    "PermitPhase",
    "RWMutex",
    "RWMutexPhase",
    "RWMutexStatus",
    "Scope",
    "Semaphore",
    "SemaphorePhase",
    "SemaphoreStatus",
    "SyncBarrier",
    "SyncGate",
    "SyncHeldPermit",
    "SyncLease",
    "SyncMutex",
    "SyncOnce",
    "SyncRWMutex",
    "SyncSemaphore",
    "SyncWaitGroup",
    "WaitGroup",
    "WaitGroupPhase",
    "WaitGroupStatus",
]

if not TYPE_CHECKING:  # else every name would be one, for type checkers
    __getattr__, __dir__ = on_demand(
        __name__,
        __all__,
        {
            "kontinue.api.konductor.barriers": "BarrierPhase BarrierStatus",
            "kontinue.api.konductor.gates": "GateCondition GatePhase GateState GateStatus GateTarget",
            "kontinue.api.konductor.group": "Holder HolderKind",
            "kontinue.api.konductor.leases": "LeasePhase LeaseRequestPhase LeaseStatus",
            "kontinue.api.konductor.mutexes": "MutexPhase MutexStatus",
            "kontinue.api.konductor.onces": "OncePhase OnceStatus",
            "kontinue.api.konductor.rwmutexes": "RWMutexPhase RWMutexStatus",
            "kontinue.api.konductor.semaphores": "PermitPhase SemaphorePhase SemaphoreStatus",
            "kontinue.api.konductor.wait_groups": "WaitGroupPhase WaitGroupStatus",
            "kontinue.sync.blocking.barrier": "SyncBarrier",
            "kontinue.sync.blocking.gate": "SyncGate",
            "kontinue.sync.blocking.lease": "SyncLease",
            "kontinue.sync.blocking.mutex": "SyncMutex",
            "kontinue.sync.blocking.once": "SyncOnce",
            "kontinue.sync.blocking.rwmutex": "SyncRWMutex",
            "kontinue.sync.blocking.semaphore": "SyncHeldPermit SyncSemaphore",
            "kontinue.sync.blocking.wait_group": "SyncWaitGroup",
            "kontinue.sync.granted.lease": "Lease",
            "kontinue.sync.granted.permits": "HeldPermit",
            "kontinue.sync.granted.semaphore": "Semaphore",
            "kontinue.sync.holding.held": "Lock Scope",
            "kontinue.sync.locks.mutex": "Mutex",
            "kontinue.sync.locks.once": "Once",
            "kontinue.sync.locks.rwmutex": "RWMutex",
            "kontinue.sync.openings.barrier": "Barrier",
            "kontinue.sync.openings.gate": "Gate",
            "kontinue.sync.wait_groups.wait_group": "WaitGroup",
        },
    )
