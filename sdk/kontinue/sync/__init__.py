"""Coordination primitives of ``konductor.io/v1`` for Python: docs/coordination.md."""

from kontinue.api.konductor_barriers import BarrierPhase, BarrierStatus
from kontinue.api.konductor_semaphores import PermitPhase, SemaphorePhase, SemaphoreStatus
from kontinue.api.konductor_v1 import Holder, HolderKind, WaitGroupPhase, WaitGroupStatus
from kontinue.sync.barrier import Barrier
from kontinue.sync.permits import HeldPermit, NoPermit
from kontinue.sync.semaphore import Semaphore
from kontinue.sync.sync_barrier import SyncBarrier
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
    "NoPermit",
    "PermitPhase",
    "Semaphore",
    "SemaphorePhase",
    "SemaphoreStatus",
    "SyncBarrier",
    "SyncHeldPermit",
    "SyncSemaphore",
    "SyncWaitGroup",
    "WaitGroup",
    "WaitGroupPhase",
    "WaitGroupStatus",
]
