"""Permits last as long as they are held."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from kontinue import errors
from kontinue.api.konductor.semaphores import (
    Permit,
    PermitPhase,
    PermitSpec,
    PermitStatus,
    SemaphoreSpec,
)
from kontinue.api.konductor.semaphores import (
    Semaphore as StoredSemaphore,
)
from kontinue.api.meta import ObjectMeta
from kontinue.client import Client
from kontinue.kube.requests import Request
from kontinue.sync import Semaphore
from kontinue.sync.granted.permits import HeldPermit
from kontinue.sync.holding.renewing import Term
from scripted_transport import ScriptedTransport
from virtual_time import virtual_time

TTL = timedelta(seconds=30)
SEMAPHORE = StoredSemaphore(metadata=ObjectMeta(name="db", uid="uid-db"), spec=SemaphoreSpec(permits=1))


class Granting(ScriptedTransport):
    """Grants each Permit at once, and notes its renewals."""

    def __init__(self) -> None:
        super().__init__()
        self.renewals: list[int] = []
        self._permit: Permit | None = None
        self.answer = self._answer

    def _answer(self, request: Request) -> bytes:
        if request.path.endswith("/semaphores/db"):
            return msgspec.json.encode(SEMAPHORE)
        if request.method == "POST":
            granted_at = datetime.now(UTC)
            status = PermitStatus(phase=PermitPhase.GRANTED, acquired_at=granted_at, expires_at=granted_at + TTL)
            self._permit = msgspec.structs.replace(msgspec.json.decode(request.body, type=Permit), status=status)
        if request.method == "PATCH":
            self.renewals.append(msgspec.json.decode(request.body)["spec"]["renewals"])
        assert self._permit is not None
        meta = msgspec.structs.replace(
            self._permit.metadata, namespace="default", uid="uid-p", resource_version=str(len(self.renewals) + 1)
        )
        permit = msgspec.json.encode(msgspec.structs.replace(self._permit, metadata=meta))
        is_list = request.method == "GET" and request.path.endswith("/permits")
        return b'{"metadata":{"resourceVersion":"1"},"items":[%b]}' % permit if is_list else permit


@virtual_time
async def test_renewals_are_numbered_on_when_a_program_has_cancelled_all_its_tasks():
    """A number that it has seen is none for the coordinator, and the permit would end while it is held."""
    transport = Granting()
    async with Semaphore("db", Client.from_kube(transport, "default")).hold(holder="me", ttl=TTL):
        await asyncio.sleep(1.1 * TTL.total_seconds())
        assert transport.renewals == [1, 2, 3]
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(TTL.total_seconds())
        assert transport.renewals == [1, 2, 3, 4, 5, 6]


@virtual_time
async def test_who_works_in_a_second_block_with_a_permit_that_was_given_back_hears_of_it():
    """Others may have had theirs meanwhile."""
    permit = Permit(metadata=ObjectMeta(name="db-1"), spec=PermitSpec(semaphore="db", holder="me"))
    were_there = [True, False]

    async def release() -> bool:
        return were_there.pop(0)

    async def renew(timeout_s: float) -> Permit:
        return permit

    held = HeldPermit(permit, release, renew, Term("it", None, 0.0, asyncio.get_running_loop().time))
    async with held:
        pass
    with pytest.raises(errors.InvalidState, match="ended"):
        async with held:
            pass
