"""The Lease against the local API server: optimistic locking decides."""

import asyncio

import pytest

from kontinue.kube.config import KubeConfig
from kontinue.kube.http import KubeTransport
from kontinue_engine.clock import SystemClock
from kontinue_engine.kube.lease import LeaderLease, LeaseHeld
from kontinue_engine.kube.process_identity import local_identity


@pytest.fixture
async def transport(local_server):
    """A transport to the local server."""
    subject = KubeTransport(KubeConfig(server=local_server.url, token=local_server.token), user_agent="tests")
    yield subject
    await subject.close()


def lease_of(transport, shard):
    return LeaderLease(transport, "default", "kontinue-leader.g", local_identity(shard), clock=SystemClock())


async def test_of_many_in_one_process_one_holds_it_and_hands_it_over(transport):
    """All others name the holder; a released Lease is free at once."""
    leases = [lease_of(transport, f"s{i}") for i in range(8)]
    results = await asyncio.gather(*(lease.acquire() for lease in leases), return_exceptions=True)
    (holder,) = [lease for lease, result in zip(leases, results, strict=True) if result is None]
    assert all(isinstance(result, LeaseHeld) for result in results if result is not None)
    await holder.release()
    successor = lease_of(transport, "next")
    await successor.acquire()
    assert successor.previous_released
    assert successor.remaining_s > 30
