"""Coordination primitives of ``konductor.io/v1`` for Python: docs/coordination.md and its neighbours."""

from kontinue.api.konductor_barriers import BarrierPhase, BarrierStatus
from kontinue.api.konductor_locks import MutexPhase, OncePhase, RWMutexPhase
from kontinue.api.konductor_semaphores import PermitPhase, SemaphorePhase, SemaphoreStatus
from kontinue.api.konductor_v1 import Holder, HolderKind, WaitGroupPhase, WaitGroupStatus
from kontinue.sync.barrier import Barrier
from kontinue.sync.held import Lock, Scope
from kontinue.sync.mutex import Mutex
from kontinue.sync.once import Once
from kontinue.sync.permits import HeldPermit
from kontinue.sync.rwmutex import RWMutex
from kontinue.sync.semaphore import Semaphore
from kontinue.sync.sync_barrier import SyncBarrier
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
    "HeldPermit",
    "Holder",
    "HolderKind",
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
    "SyncHeldPermit",
    "SyncMutex",
    "SyncOnce",
    "SyncRWMutex",
    "SyncSemaphore",
    "SyncWaitGroup",
    "WaitGroup",
    "WaitGroupPhase",
    "WaitGroupStatus",
]
