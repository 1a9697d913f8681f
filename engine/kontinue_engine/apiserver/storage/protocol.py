"""Internal. What the API server asks of a store: revisions, compare-and-swap commits, and a tail to feed watches.

Keys and values are opaque here. Every commit gets the next revision; the tail delivers committed changes in order of
revision and only once they are durable, before the commit's own future resolves. Reads are served from
``kontinue_engine.apiserver.objects.object_store``, which the tail keeps equal to the store, so the Protocol has no
``get``. Several processes may share one store (``is_shared``): then only ``current_rev`` knows what the others have
committed, and whoever wants the latest waits until the tail has come that far (docs/adr/0009). Called by the object
store and the server; ``kontinue_engine.apiserver.storage.sqlite_storage`` implements it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from kontinue_engine.errors import EngineError


class StorageError(EngineError):
    """Base of what can go wrong with a store."""


class StorageFailedError(StorageError):
    """A commit did not become durable (disk full, I/O error); nothing of it is visible. Worth retrying."""


class StorageBusyError(StorageError):
    """Another process has the data file open.

    Attributes:
        holder_pid: its process id, or None when unknown.
    """

    def __init__(self, message: str, *, holder_pid: int | None) -> None:
        super().__init__(message)
        self.holder_pid = holder_pid


class StorageLostError(StorageError):
    """The data file is no longer where it was: what is written now would be found by nobody."""


class StorageCorruptError(StorageError):
    """The data file is damaged or not ours; it has been left as it is."""


class RevisionMismatchError(StorageError):
    """Compare-and-swap failed: ``key`` is at another revision (0: absent) than the write expected."""

    def __init__(self, key: str, actual_rev: int) -> None:
        super().__init__(f"{key} is at revision {actual_rev}")
        self.key = key
        self.actual_rev = actual_rev


class Write(msgspec.Struct, frozen=True, gc=False):
    """One change to be committed: create (``expected_rev`` 0), replace, or delete (``value`` None).

    ``note`` comes back in the Change as it is, so that this process need not parse what it has just written.
    """

    key: str
    expected_rev: int
    value: bytes | None
    note: object = None


class Change(msgspec.Struct, frozen=True, gc=False):
    """One committed change: ``value`` None is a delete, ``previous_rev`` 0 a creation."""

    rev: int
    key: str
    value: bytes | None
    previous_rev: int
    note: object = None


Sink = Callable[[Sequence[Change]], None]


class Storage(Protocol):
    """A durable, revisioned key-value store. All methods are called on the event loop's thread.

    Attributes:
        is_shared: whether others commit too, so that the tail may lag behind what is durable.
    """

    is_shared: bool

    def open(self) -> None:
        """Open or create the store; blocks, so it is called before anything is served.

        Raises:
            StorageBusyError: another process holds it.
            StorageCorruptError: it cannot be read; nothing was overwritten.
            StorageFailedError: the disk is full or does not work.
        """

    def list_at(self, rev: int) -> Iterable[Change]:
        """Return what was live at ``rev``, in order of revision; blocks. History before ``compacted_rev`` is gone."""

    def tail(self, after_rev: int, sink: Sink) -> None:
        """Give ``sink`` the kept changes after ``after_rev`` at once, then each batch as it becomes durable."""

    def commit(self, writes: Sequence[Write]) -> asyncio.Future[list[int]]:
        """Commit all ``writes`` or none; the future gives their revisions once they are durable and in the tail.

        Fails with StorageFailedError, or with RevisionMismatchError: not before the change that came between is in the
        tail, so that whoever reads again and tries again sees it.
        """

    async def current_rev(self) -> int:
        """Return the newest durable revision, whoever committed it.

        Raises:
            StorageFailedError: it cannot be asked.
        """

    def compacted_rev(self) -> int:
        """Return the revision up to which history is forgotten."""

    async def compact(self, rev: int) -> int:
        """Forget history up to ``rev``; live objects stay. Returns the new ``compacted_rev``."""

    async def watch_over(self) -> None:
        """Wait until the store is unusable, and raise why: a bug of its own, or of the sink, which now shows something
        else than what is stored. Never returns.
        """

    async def close(self) -> None:
        """Finish what was accepted, then close; idempotent."""
