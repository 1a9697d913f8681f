"""Coordination primitives of ``konductor.io/v1`` for Python: docs/coordination.md."""

from kontinue.api.konductor_v1 import Holder, HolderKind, WaitGroupPhase, WaitGroupStatus
from kontinue.sync.sync_wait_group import SyncWaitGroup
from kontinue.sync.wait_group import WaitGroup

__all__ = ["Holder", "HolderKind", "SyncWaitGroup", "WaitGroup", "WaitGroupPhase", "WaitGroupStatus"]
