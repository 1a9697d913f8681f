"""Coordination primitives of ``konductor.io/v1`` for Python: docs/coordination.md and its neighbours."""

from kontinue.api.konductor.barriers import BarrierPhase, BarrierStatus
from kontinue.api.konductor.gates import GateCondition, GatePhase, GateState, GateStatus, GateTarget
from kontinue.api.konductor.group import Holder, HolderKind
from kontinue.api.konductor.leases import LeasePhase, LeaseRequestPhase
from kontinue.api.konductor.mutexes import MutexPhase
from kontinue.api.konductor.onces import OncePhase
from kontinue.api.konductor.rwmutexes import RWMutexPhase
from kontinue.api.konductor.semaphores import PermitPhase, SemaphorePhase, SemaphoreStatus
from kontinue.api.konductor.wait_groups import WaitGroupPhase, WaitGroupStatus
from kontinue.sync.barrier import Barrier
from kontinue.sync.gate import Gate
from kontinue.sync.held import Lock, Scope
from kontinue.sync.lease import Lease
from kontinue.sync.mutex import Mutex
from kontinue.sync.once import Once
from kontinue.sync.permits import HeldPermit
from kontinue.sync.rwmutex import RWMutex
from kontinue.sync.semaphore import Semaphore
from kontinue.sync.sync_barrier import SyncBarrier
from kontinue.sync.sync_gate import SyncGate
from kontinue.sync.sync_lease import SyncLease
from kontinue.sync.sync_mutex import SyncMutex
from kontinue.sync.sync_once import SyncOnce
from kontinue.sync.sync_rwmutex import SyncRWMutex
from kontinue.sync.sync_semaphore import SyncHeldPermit, SyncSemaphore
from kontinue.sync.sync_wait_group import SyncWaitGroup
from kontinue.sync.wait_group import WaitGroup

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
    "Lock",
    "Mutex",
    "MutexPhase",
    "Once",
    "OncePhase",
    "PermitPhase",
    "RWMutex",
    "RWMutexPhase",
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
