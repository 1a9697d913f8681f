"""A Gate for code without an event loop: the asynchronous one, on the loop of a ``SyncClient`` (ADR 0019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from kontinue.api.konductor.gates import Gate as StoredGate
from kontinue.api.konductor.gates import GateCondition, GateStatus
from kontinue.client.sync_client import SyncClient, parts_of
from kontinue.sync.openings.gate import Gate


class SyncGate:
    """One Gate of an API server; see ``Gate``. Any number of threads may share it.

    Attributes:
        name: of the Gate.
        namespace: of the Gate.
    """

    def __init__(self, name: str, client: SyncClient, *, namespace: str | None = None) -> None:
        asynchronous, self._thread = parts_of(client)
        self._gate = Gate(name, asynchronous, namespace=namespace)
        self.name = name
        self.namespace = self._gate.namespace

    def create(self, conditions: Sequence[GateCondition | str], *, timeout: timedelta | None = None) -> StoredGate:
        """Create it, or return the one that exists; see ``Gate.create``."""
        return self._thread.run(self._gate.create(conditions, timeout=timeout))

    def open(self) -> StoredGate:
        """Open it by hand; see ``Gate.open``."""
        return self._thread.run(self._gate.open())

    def close(self) -> StoredGate:
        """Close it by hand; see ``Gate.close``."""
        return self._thread.run(self._gate.close())

    def reset(self) -> StoredGate:
        """Let its conditions decide again; see ``Gate.reset``."""
        return self._thread.run(self._gate.reset())

    def check(self) -> bool:
        """Tell whether it is open now; see ``Gate.check``."""
        return self._thread.run(self._gate.check())

    def wait(
        self, *, timeout: timedelta | None = None, on_progress: Callable[[StoredGate], object] | None = None
    ) -> StoredGate:
        """Wait until it is open; see ``Gate.wait``. ``on_progress`` is called on the client's own thread."""
        return self._thread.run(self._gate.wait(timeout=timeout, on_progress=on_progress))

    def wait_until(
        self,
        is_over: Callable[[StoredGate], bool],
        *,
        timeout: timedelta | None = None,
        on_progress: Callable[[StoredGate], object] | None = None,
    ) -> StoredGate:
        """Wait until something is so of it; see ``Gate.wait_until``."""
        return self._thread.run(self._gate.wait_until(is_over, timeout=timeout, on_progress=on_progress))

    def get(self) -> StoredGate:
        """Read the whole object; see ``Gate.get``."""
        return self._thread.run(self._gate.get())

    def status(self) -> GateStatus:
        """Read the status; see ``Gate.status``."""
        return self._thread.run(self._gate.status())

    def delete(self) -> None:
        """Delete it; see ``Gate.delete``."""
        self._thread.run(self._gate.delete())
