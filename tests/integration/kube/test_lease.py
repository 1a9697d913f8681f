"""The Lease against an API server: optimistic locking decides."""

import asyncio

import pytest

from kontinue_engine.clock import SystemClock
from kontinue_engine.kube.lease import LeaderLease, LeaseHeld
from kontinue_engine.kube.process_identity import local_identity


@pytest.fixture
async def transport(api_server):
    """A transport to the server."""
    subject = api_server.transport()
    yield subject
    await subject.close()


def lease_of(transport, namespace, shard):
    return LeaderLease(transport, namespace, "kontinue-leader.g", local_identity(shard), clock=SystemClock())


async def test_of_many_in_one_process_one_holds_it_and_hands_it_over(transport, api_server):
    """All others name the holder; a released Lease is free at once."""
    leases = [lease_of(transport, api_server.namespace, f"s{i}") for i in range(8)]
    results = await asyncio.gather(*(lease.acquire() for lease in leases), return_exceptions=True)
    (holder,) = [lease for lease, result in zip(leases, results, strict=True) if result is None]
    assert all(isinstance(result, LeaseHeld) for result in results if result is not None)
    await holder.release()
    successor = lease_of(transport, api_server.namespace, "next")
    await successor.acquire()
    assert successor.previous_released
    assert successor.remaining_s > 30
