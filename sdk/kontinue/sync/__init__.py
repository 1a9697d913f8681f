"""Coordination primitives of ``konductor.io/v1`` for Python: docs/coordination.md, docs/locks.md."""

from kontinue.api.konductor_locks import MutexPhase, OncePhase, RWMutexPhase
from kontinue.api.konductor_v1 import Holder, HolderKind, WaitGroupPhase, WaitGroupStatus
from kontinue.sync.held import Lock, Scope
from kontinue.sync.mutex import Mutex
from kontinue.sync.once import Once
from kontinue.sync.rwmutex import RWMutex
from kontinue.sync.sync_mutex import SyncMutex
from kontinue.sync.sync_once import SyncOnce
from kontinue.sync.sync_rwmutex import SyncRWMutex
from kontinue.sync.sync_wait_group import SyncWaitGroup
from kontinue.sync.wait_group import WaitGroup

__all__ = [
    "Holder",
    "HolderKind",
    "Lock",
    "Mutex",
    "MutexPhase",
    "Once",
    "OncePhase",
    "RWMutex",
    "RWMutexPhase",
    "Scope",
    "SyncMutex",
    "SyncOnce",
    "SyncRWMutex",
    "SyncWaitGroup",
    "WaitGroup",
    "WaitGroupPhase",
    "WaitGroupStatus",
]
