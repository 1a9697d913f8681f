"""WaitGroups outlive their API server: what is under way when it is killed counts once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from kontinue.client import Client
from kontinue.kube.config import load_config
from kontinue.kube.http import KubeTransport
from kontinue.sync import WaitGroup
from polling import eventually
from startable import StartableServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EACH = 25
PATIENCE = timedelta(seconds=250)
"""A real control plane takes seconds to start, a slow machine more."""


async def test_operations_count_once_and_a_wait_ends_although_the_server_is_killed(
    restartable_server: StartableServer,
) -> None:
    """Killed while four processes count as fast as they can: the counter ends at exactly 0, and who waits knows.

    A lost operation would leave a rest, one that counted twice would be refused in the end.
    """
    await asyncio.to_thread(restartable_server.start)
    transports = [
        KubeTransport(load_config(kubeconfig=restartable_server.kubeconfig), user_agent="tests") for _ in range(5)
    ]
    groups = [WaitGroup("jobs", Client.from_kube(one, "default").with_timeout(PATIENCE)) for one in transports]
    *counting, waiting = groups
    await waiting.create()
    await waiting.add(len(counting) * EACH)
    done = 0

    async def count(group: WaitGroup) -> None:
        nonlocal done
        for _ in range(EACH):
            await group.done()
            done += 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(waiting.wait())
        for group in counting:
            tasks.create_task(count(group))
        await eventually(lambda: done >= EACH)
        await asyncio.to_thread(restartable_server.kill)
        await asyncio.to_thread(restartable_server.start)
    status = await waiting.status()
    assert (status.counter, status.rounds, status.added) == (0, 1, len(counting) * EACH)
    for one in transports:
        await one.close()
