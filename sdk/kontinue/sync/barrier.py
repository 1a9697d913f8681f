"""A Barrier, asynchronously: create it, arrive, wait until enough have arrived. Called by users and by the CLI.

Who arrives creates an Arrival; the coordinator counts them and opens the Barrier.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Final

from kontinue import errors
from kontinue.api import durations
from kontinue.api.konductor.barriers import Arrival, ArrivalSpec, BarrierPhase, BarrierSpec, BarrierStatus
from kontinue.api.konductor.barriers import Barrier as StoredBarrier
from kontinue.api.konductor.child_names import child_name
from kontinue.api.meta import ObjectMeta
from kontinue.client.client import Client
from kontinue.client.limits import limited, limited_write
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.sync.asking import child_meta
from kontinue.sync.watching import states

RETRY_S: Final = 30.0
"""How long a request is tried when the client has no timeout; as the client's other calls."""
BARRIER_LABEL: Final = "barrier"
"""Documented label of Arrivals."""
_TRIES: Final = 5
"""Of an arrival that finds those of earlier Barriers of the same name. Judgement."""

_decode: Final = reader(StoredBarrier)
_decode_arrival: Final = reader(Arrival)


class Barrier:
    """One Barrier of an API server. It need not exist yet. Any number of tasks may share it.

    Attributes:
        name: of the Barrier.
        namespace: of the Barrier.
        timeout: limit of each call, that of the client; ``wait`` may have one of its own.
    """

    def __init__(self, name: str, client: Client, *, namespace: str | None = None) -> None:
        self.name = name
        self.namespace = namespace or client.namespace
        self.timeout = client.timeout
        self._transport = client.kube
        self._retry_for_s = RETRY_S if client.timeout is None else client.timeout.total_seconds()

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
        limit = durations.format_(timeout) if timeout else ""
        spec = BarrierSpec(expected=expected, quorum=quorum, timeout=limit)
        request = requests.create(
            requests.BARRIERS, self.namespace, StoredBarrier(metadata=ObjectMeta(name=self.name), spec=spec)
        )
        try:
            return _decode(await self._transport.send(request, repeatable=True, retry_for_s=self._retry_for_s))
        except errors.AlreadyExists:
            return await self.get()

    @limited_write
    async def arrive(self, holder: str = "") -> Arrival:
        """Say that somebody has arrived. Whoever has arrived already is not counted again.

        Args:
            holder: who; the host's name by default.

        Raises:
            InvalidState: the Barrier has failed.
            NotFound: there is no such Barrier.
            ApiError: the server refuses.
        """
        holder = holder or socket.gethostname()
        for _ in range(_TRIES):
            barrier = await self.get()
            if barrier.status.phase is BarrierPhase.FAILED:
                raise self._failed(barrier)
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

    async def wait(
        self,
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
        on_progress: Callable[[StoredBarrier], object] | None = None,
    ) -> StoredBarrier:
        """Wait until it is open, and return it.

        Args:
            timeout: no longer than this, 0: look once; None: as long as the client's timeout, or for ever.
            on_progress: called with each state that it is seen in meanwhile.

        Raises:
            WaitTimeout: it was not open in time; the message tells how many have arrived.
            InvalidState: it has failed: its own timeout is over.
            NotFound: it does not exist, or was deleted meanwhile.
            ApiError: the server refuses.
        """
        return await self.wait_until(_is_open, timeout=timeout, on_progress=on_progress)

    async def wait_until(
        self,
        is_over: Callable[[StoredBarrier], bool],
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the API
        on_progress: Callable[[StoredBarrier], object] | None = None,
    ) -> StoredBarrier:
        """Wait until something is so of the Barrier; see ``wait``."""
        limit = self.timeout if timeout is None else timeout
        seen: StoredBarrier | None = None
        if limit is not None and limit <= timedelta():
            seen = await self.get()
            if self._is_over(seen, is_over):
                return seen
            raise self._timed_out(seen, limit)
        scope = asyncio.timeout(None if limit is None else limit.total_seconds())
        try:
            async with (
                scope,
                aclosing(states(self._transport, requests.BARRIERS, self.namespace, self.name, StoredBarrier)) as found,
            ):
                async for seen in found:
                    if seen is None:
                        break
                    if self._is_over(seen, is_over):
                        return seen
                    if on_progress is not None:
                        on_progress(seen)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise self._timed_out(seen, limit or timedelta()) from error
        raise errors.NotFound(
            f"there is no Barrier {self.namespace}/{self.name}, or not any more", status=404, reason="NotFound"
        )

    @limited
    async def get(self) -> StoredBarrier:
        """Read the whole object.

        Raises:
            NotFound: there is none.
        """
        request = requests.get(requests.BARRIERS, self.namespace, self.name)
        return _decode(await self._transport.send(request, retry_for_s=self._retry_for_s))

    @limited
    async def status(self) -> BarrierStatus:
        """Read the status; without phase and numbers while no coordinator has seen it.

        Raises:
            NotFound: there is no such Barrier.
        """
        return (await self.get()).status

    @limited_write
    async def delete(self) -> None:
        """Delete it, and with it its Arrivals; who waits for it gets NotFound.

        Raises:
            NotFound: there is none.
        """
        request = requests.delete(requests.BARRIERS, self.namespace, self.name)
        await self._transport.send(request, retry_for_s=self._retry_for_s)

    async def _own(self, barrier: StoredBarrier, arrival: Arrival) -> Arrival | None:
        """Return the Arrival that exists already; None if it was one at an earlier Barrier, which is deleted here."""
        name = arrival.metadata.name
        request = requests.get(requests.ARRIVALS, self.namespace, name)
        try:
            found = _decode_arrival(await self._transport.send(request, retry_for_s=self._retry_for_s))
            if found.spec != arrival.spec:
                raise errors.InvalidState(f"Arrival {self.namespace}/{name} is somebody else's: {found.spec.holder}")
            if all(one.uid == barrier.metadata.uid for one in found.metadata.owner_references):
                return found
            request = requests.delete(requests.ARRIVALS, self.namespace, name, uid=found.metadata.uid)
            await self._transport.send(request, retry_for_s=self._retry_for_s)
        except (errors.NotFound, errors.Conflict):
            pass  # deleted meanwhile, as it should be
        return None

    def _is_over(self, barrier: StoredBarrier, is_over: Callable[[StoredBarrier], bool]) -> bool:
        if is_over(barrier):
            return True
        if barrier.status.phase is BarrierPhase.FAILED:
            raise self._failed(barrier)
        return False

    def _failed(self, barrier: StoredBarrier) -> errors.InvalidState:
        return errors.InvalidState(
            f"Barrier {self.namespace}/{self.name} has failed: {barrier.status.arrived} of {barrier.required} have "
            f"arrived within {barrier.spec.timeout}"
        )

    def _timed_out(self, seen: StoredBarrier | None, limit: timedelta) -> errors.WaitTimeout:
        what = f"Barrier {self.namespace}/{self.name}"
        if seen is None:
            return errors.WaitTimeout(f"{what} could not be read within {durations.format_(limit)}")
        if seen.status.phase is None:
            return errors.WaitTimeout(f"no coordinator has looked after {what}: does one run?")
        counted = f"{seen.status.arrived} of {seen.required} have arrived"
        return errors.WaitTimeout(f"{what} is not open after {durations.format_(limit)}: {counted}")


def _is_open(barrier: StoredBarrier) -> bool:
    return barrier.status.phase is BarrierPhase.OPEN


def _new_arrival(barrier: StoredBarrier, holder: str) -> Arrival:
    name = barrier.metadata.name
    return Arrival(
        metadata=child_meta(barrier, child_name(name, holder), label=BARRIER_LABEL),
        spec=ArrivalSpec(barrier=name, holder=holder),
    )
