"""The Lease against an API server: optimistic locking decides."""

import asyncio

import msgspec
import pytest

from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue.errors import Unavailable
from kontinue.kube import requests
from kontinue_engine.clock import SystemClock
from kontinue_engine.kube.lease import HeldLease, LeaseHeld
from kontinue_engine.kube.process_identity import local_identity
from kontinue_engine.sharding.leases import LeaseTimes

USUAL_TIMES = LeaseTimes()


@pytest.fixture
async def transport(api_server):
    """A transport to the server."""
    subject = api_server.transport()
    yield subject
    await subject.close()


def lease_of(transport, namespace, shard, times=USUAL_TIMES):
    return HeldLease(
        transport,
        namespace,
        "kontinue-leader.g",
        local_identity(shard),
        group="g",
        clock=SystemClock(),
        times=times,
    )


async def test_of_many_in_one_process_one_holds_it_and_hands_it_over(transport, api_server):
    """All others name the holder; a released Lease is free at once."""
    leases = [lease_of(transport, api_server.namespace, f"s{i}") for i in range(8)]
    results = await asyncio.gather(*(lease.acquire() for lease in leases), return_exceptions=True)
    (holder,) = [lease for lease, result in zip(leases, results, strict=True) if result is None]
    assert all(isinstance(result, LeaseHeld) for result in results if result is not None)
    await holder.release()
    successor = lease_of(transport, api_server.namespace, "next")
    await successor.acquire()
    assert not successor.dead_predecessor
    assert successor.remaining_s > 30


async def test_what_a_holder_says_of_itself_is_stored_at_once_and_ends_with_its_tenure(transport, api_server):
    """A draining replica takes no new work from the moment it says so; its successor under that name does."""

    async def stored():
        request = requests.get(requests.LEASES, api_server.namespace, "kontinue-leader.g")
        return msgspec.json.decode(await transport.send(request), type=Lease).metadata

    holder = lease_of(transport, api_server.namespace, "a")
    await holder.acquire()
    keeping = asyncio.ensure_future(holder.run())
    holder.annotate({labels.DRAINING: "true"})
    async with asyncio.timeout(60):
        while labels.DRAINING not in (await stored()).annotations:
            await asyncio.sleep(0.01)
    keeping.cancel()
    await holder.release()
    await lease_of(transport, api_server.namespace, "a").acquire()
    found = await stored()
    assert labels.DRAINING not in found.annotations
    assert found.labels == {labels.WORKER_GROUP: "g"}


async def test_it_is_given_back_although_answers_take_longer_than_a_renewal_may(transport, api_server, monkeypatch):
    """Its holder has stopped writing; what hurries a renewal is no reason to leave the Lease to run out."""
    holder = lease_of(transport, api_server.namespace, "a", LeaseTimes(duration_s=7, renew_s=0.5))
    await holder.acquire()
    send = transport.send

    async def be_slow(request, **options):
        if options["timeout_s"] <= 2:
            raise Unavailable("no answer within 2 s")
        return await send(request, **options)

    monkeypatch.setattr(transport, "send", be_slow)
    await holder.release()
    monkeypatch.undo()
    await lease_of(transport, api_server.namespace, "b").acquire()
