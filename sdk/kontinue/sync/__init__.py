"""Coordination primitives of ``konductor.io/v1`` for Python: docs/coordination.md and its neighbours."""

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
