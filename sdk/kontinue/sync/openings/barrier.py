"""A Barrier, asynchronously: create it, arrive, wait until enough have arrived. Called by users, CLI and workers.

Who arrives creates an Arrival; the coordinator counts them and opens the Barrier.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kontinue import errors
from kontinue.api.konductor.barriers import Arrival, ArrivalSpec, BarrierPhase, BarrierSpec, BarrierStatus
from kontinue.api.konductor.barriers import Barrier as StoredBarrier
from kontinue.api.konductor.child_names import child_name
from kontinue.api.konductor.group import owner_uid
from kontinue.api.meta import ObjectMeta
from kontinue.client.client import Client
from kontinue.client.limits import limited, limited_write
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.sync.holding.holders import holder_name
from kontinue.sync.objects.arguments import duration_text, require_holder_name, require_number
from kontinue.sync.objects.owned import child_meta
from kontinue.sync.openings.opening import Opening

BARRIER_LABEL: Final = "barrier"
"""Documented label of Arrivals."""
_TRIES: Final = 5
"""Of an arrival that finds those of earlier Barriers of the same name. Judgement."""

_decode_arrival: Final = reader(Arrival)


class Barrier(Opening[StoredBarrier]):
    """One Barrier of an API server. It need not exist yet. Any number of tasks may share it.

    Attributes:
        name: of the Barrier.
        namespace: of the Barrier.
        timeout: limit of each call, that of the client; ``wait`` may have one of its own.
    """

    def __init__(self, name: str, client: Client, *, namespace: str | None = None) -> None:
        super().__init__(name, client, requests.BARRIERS, StoredBarrier, namespace=namespace)

    @limited_write
    async def create(
        self,
        expected: int = 1,
        *,
        quorum: int | None = None,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the object
    ) -> StoredBarrier:
        """Create it, or return the one that exists, as it is.

        Args:
            expected: how many are to arrive.
            quorum: so many arrivals open it; None: all that are expected.
            timeout: it fails if it is not open so long after it was created; None: never.

        Raises:
            ApiError: the server refuses, for example a quorum above ``expected``.
        """
        require_number("expected", expected)
        if quorum is not None:
            require_number("quorum", quorum)
        spec = BarrierSpec(expected=expected, quorum=quorum, timeout=duration_text("timeout", timeout))
        return await self._create(StoredBarrier(metadata=ObjectMeta(name=self.name), spec=spec))

    @limited_write
    async def arrive(self, holder: str | None = None) -> Arrival:
        """Say that somebody has arrived. Whoever has arrived already is not counted again.

        Args:
            holder: who; by default ``KONDUCTOR_HOLDER_ID``, ``HOSTNAME`` or the host's name.

        Raises:
            InvalidState: the Barrier has failed.
            NotFound: there is no such Barrier.
            ApiError: the server refuses.
        """
        require_holder_name(holder)
        holder = holder_name(holder)
        for _ in range(_TRIES):
            barrier = await self.get()
            self._refuse_failed(barrier)
            arrival = _new_arrival(barrier, holder)
            request = requests.create(requests.ARRIVALS, self.namespace, arrival)
            try:
                body = await self._transport.send(request, repeatable=True, retry_for_s=self._retry_for_s)
                return _decode_arrival(body)
            except errors.AlreadyExists:
                if (found := await self._own(barrier, arrival)) is not None:
                    return found
        raise errors.Conflict(
            f"Barrier {self.namespace}/{self.name} is deleted and made again all the time",
            status=409,
            reason="Conflict",
        )

    @limited
    async def status(self) -> BarrierStatus:
        """Read the status; without phase and numbers while no coordinator has seen it.

        Raises:
            NotFound: there is no such Barrier.
        """
        return (await self.get()).status

    async def _own(self, barrier: StoredBarrier, arrival: Arrival) -> Arrival | None:
        """Return the Arrival that exists already; None if it was one at an earlier Barrier, which is deleted here."""
        name = arrival.metadata.name
        request = requests.get(requests.ARRIVALS, self.namespace, name)
        try:
            found = _decode_arrival(await self._transport.send(request, retry_for_s=self._retry_for_s))
            if found.spec != arrival.spec:
                raise errors.InvalidState(f"Arrival {self.namespace}/{name} is somebody else's: {found.spec.holder}")
            owner = owner_uid(found.metadata, barrier.kind, noted=found.status.parent_uid)
            if owner in {"", barrier.metadata.uid}:
                return found
            request = requests.delete(requests.ARRIVALS, self.namespace, name, uid=found.metadata.uid)
            await self._transport.send(request, retry_for_s=self._retry_for_s)
        except (errors.NotFound, errors.Conflict):
            pass  # deleted meanwhile, as it should be
        return None

    def _is_open(self, found: StoredBarrier) -> bool:
        return found.status.phase is BarrierPhase.OPEN

    def _failure(self, found: StoredBarrier) -> str:
        is_failed = found.status.phase is BarrierPhase.FAILED
        return f"{self._counted(found)} within {found.spec.timeout}" if is_failed else ""

    def _progress(self, found: StoredBarrier) -> str:
        return "" if found.status.phase is None else self._counted(found)

    def _counted(self, found: StoredBarrier) -> str:
        return f"{found.status.arrived} of {found.required} have arrived"


def _new_arrival(barrier: StoredBarrier, holder: str) -> Arrival:
    name = barrier.metadata.name
    return Arrival(
        metadata=child_meta(barrier, child_name(name, holder), label=BARRIER_LABEL),
        spec=ArrivalSpec(barrier=name, holder=holder),
    )
