"""Requests that are carried out and sent again, because their answers got lost, by users of all primitives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from api_server import ApiServer
from kontinue.client import Client
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import Request
from kontinue.sync import Barrier, Lease, Mutex, Once, RWMutex, Semaphore, WaitGroup
from looked_after import World

LONG = timedelta(seconds=60)


class Twice(KubeTransport):
    """Sends each request again once it was carried out, and knows only the second answer."""

    async def send(self, request: Request, **options: Any) -> bytes:
        await super().send(request, **options)
        return await super().send(request, **options)


@pytest.fixture
async def client(api_server: ApiServer) -> AsyncIterator[Client]:
    """One whose requests are all sent twice, while a coordinator works whose requests are not."""
    transport, other = Twice(api_server.config, user_agent="tests"), api_server.transport()
    async with World(other, api_server.namespace).looked_after():
        yield Client.from_kube(transport, api_server.namespace)
    await transport.close()
    await other.close()


async def test_a_wait_group_counts_once(client: Client):
    """What stands in its status tells that it was counted."""
    group = WaitGroup("jobs", client)
    await group.create()
    assert [await group.add(2), await group.done(), await group.done(operation_id="last")] == [2, 1, 0]
    assert (await group.wait(timeout=LONG)).status.added == 2


async def test_locks_are_taken_and_given_back_once(client: Client):
    """And a Once is executed once."""
    mutex, rw_mutex, lease = Mutex("deploy", client), RWMutex("catalog", client), Lease("leader", client)
    once = Once("migrate", client)
    for one in (mutex, rw_mutex, lease, once):
        await one.create()
    for scope in (mutex.held, rw_mutex.held, rw_mutex.reading, lease.held, once.running):
        async with scope(timeout=LONG):
            pass
    assert [(await one.get()).status.token for one in (mutex, rw_mutex, lease, once)] == [1, 2, 1, 1]
    assert await once.is_executed()


async def test_a_permit_that_was_given_back_had_been_held(client: Client):
    """That the second request finds no Permit any more is not its end before the work."""
    semaphore = Semaphore("db", client)
    await semaphore.create()
    async with semaphore.hold(timeout=LONG):
        pass
    assert await (await semaphore.acquire(timeout=LONG)).release()
    held = await semaphore.acquire(holder="script", timeout=LONG)
    assert await semaphore.release("script") == held.name
    assert await semaphore.permits() == []


async def test_an_arrival_counts_once(client: Client):
    """It is found to be there already."""
    barrier = Barrier("start", client)
    await barrier.create(1)
    await barrier.arrive("a")
    assert (await barrier.wait(timeout=LONG)).status.arrived == 1
