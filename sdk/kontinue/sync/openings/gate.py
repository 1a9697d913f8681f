"""A Gate, asynchronously: create it, wait until all that it waits for is so, open and close it by hand.

The coordinator looks at the conditions. Called by users, by the CLI and by workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from kontinue import errors
from kontinue.api.konductor.gates import Gate as StoredGate
from kontinue.api.konductor.gates import (
    GateCondition,
    GateOverride,
    GatePhase,
    GateSpec,
    GateStatus,
    parse_condition,
)
from kontinue.api.meta import ObjectMeta
from kontinue.client.client import Client
from kontinue.client.limits import limited, limited_write
from kontinue.kube import requests
from kontinue.options import require_type
from kontinue.sync.objects.arguments import duration_text
from kontinue.sync.openings.opening import Opening


class Gate(Opening[StoredGate]):
    """One Gate of an API server. It need not exist yet. Any number of tasks may share it.

    Attributes:
        name: of the Gate.
        namespace: of the Gate.
        timeout: limit of each call, that of the client; ``wait`` may have one of its own.
    """

    def __init__(self, name: str, client: Client, *, namespace: str | None = None) -> None:
        super().__init__(name, client, requests.GATES, StoredGate, namespace=namespace)

    @limited_write
    async def create(
        self,
        conditions: Sequence[GateCondition | str],
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the object
    ) -> StoredGate:
        """Create it, or return the one that exists, as it is.

        Args:
            conditions: what has to be so, all of it: values, or ``TYPE/[NAMESPACE/]NAME=STATE[:VALUE]``, as
                ``Job/migrate=Complete`` or ``Semaphore/db=Available:2``.
            timeout: it fails if it is not open so long after it was created; None: never.

        Raises:
            TypeError: no list of them, but a text, say.
            ValueError: a text names no condition, or one that can never be met.
            ApiError: the server refuses.
        """
        example = 'conditions=["Job/migrate=Complete"]'
        if isinstance(conditions, str) or not isinstance(conditions, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"conditions={conditions!r}: expected a list, for example {example}")
        for one in conditions:
            require_type("conditions", one, (str, GateCondition), example)
        spec = GateSpec(
            conditions=[parse_condition(one) if isinstance(one, str) else one for one in conditions],
            timeout=duration_text("timeout", timeout),
        )
        return await self._create(StoredGate(metadata=ObjectMeta(name=self.name), spec=spec))

    @limited_write
    async def open(self) -> StoredGate:
        """Open it, whatever its conditions say, until it is closed or reset; also one that has failed.

        Raises:
            NotFound: there is none.
            InvalidState: the definition of Gates in the cluster is another one, without overrides.
            ApiError: the server refuses.
        """
        return await self._override(GateOverride.OPEN)

    @limited_write
    async def close(self) -> StoredGate:
        """Close it, whatever its conditions say, until it is opened or reset. Who has gone through has gone through.

        Raises:
            NotFound: there is none.
            InvalidState: the definition of Gates in the cluster is another one, without overrides.
            ApiError: the server refuses.
        """
        return await self._override(GateOverride.CLOSED)

    @limited_write
    async def reset(self) -> StoredGate:
        """Let its conditions decide again, anew, after it was opened or closed by hand.

        Raises:
            NotFound: there is none.
            InvalidState: the definition of Gates in the cluster is another one, without overrides.
            ApiError: the server refuses.
        """
        return await self._override(None)

    @limited
    async def check(self) -> bool:
        """Tell whether it is open now.

        Raises:
            NotFound: there is none.
        """
        return self._is_open(await self.get())

    @limited
    async def status(self) -> GateStatus:
        """Read the status; without phase while no coordinator has seen it.

        Raises:
            NotFound: there is no such Gate.
        """
        return (await self.get()).status

    async def _override(self, override: GateOverride | None) -> StoredGate:
        patch = {"spec": {"override": override}}
        request = requests.merge_patch(self._resource, self.namespace, self.name, patch)
        stored = self._decode(await self._transport.send(request, repeatable=True, retry_for_s=self._retry_for_s))
        if stored.spec.override is not override:
            raise errors.InvalidState(
                f"{self._what} cannot be opened and closed by hand: the kind in the cluster has no spec.override; "
                "`kontinue install` brings it"
            )
        return stored

    def _is_open(self, found: StoredGate) -> bool:
        return found.phase is GatePhase.OPEN

    def _failure(self, found: StoredGate) -> str:
        is_failed = found.phase is GatePhase.FAILED
        return f"not within {found.spec.timeout}: {found.missing}" if is_failed else ""

    def _progress(self, found: StoredGate) -> str:
        return "" if found.status.phase is None else found.missing
