"""Parents and children that are not in one shard any more: moved by hand, with a label, or because a replica died."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue.client import Client
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from polling import eventually
from replica import Replica

SOON = timedelta(seconds=40)
"""Shorter than the minute after which a child elsewhere is looked for without any sign of it."""
OTHER = {"w-0": "w-1", "w-1": "w-0"}

APP = "sharded_app:app"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("pair")]


async def settled(client: Client, name: str) -> Execution:
    """Wait until an Execution is Suspended in the shard that its label names."""
    async with asyncio.timeout(SOON.total_seconds()):
        while True:
            found = await client.get(name)
            owner = found.status.owner
            shard = found.metadata.labels.get(labels.SHARD)
            if found.phase is Phase.SUSPENDED and owner is not None and owner.shard == shard:
                return found
            await asyncio.sleep(0.02)


async def move(transport: KubeTransport, execution: Execution) -> None:
    """Do what ``kubectl label --overwrite`` does."""
    shard = OTHER[execution.metadata.labels[labels.SHARD]]
    patch = {"metadata": {"labels": {labels.SHARD: shard}}}
    await transport.send(requests.merge_patch(requests.EXECUTIONS, "default", execution.metadata.name, patch))


async def noticed(client: Client, name: str) -> None:
    """Wait until the replica of its parent knows that a child has been moved."""
    async with asyncio.timeout(SOON.total_seconds()):
        while labels.PARENT_GROUP not in (await client.get(name)).metadata.labels:
            await asyncio.sleep(0.02)


async def create_in(client: Client, transport: KubeTransport, shard: str, name: str, function: str) -> None:
    """Create one that waits for ten minutes, in that shard, and wait until it does."""
    body = {
        "apiVersion": labels.API_VERSION,
        "kind": "Execution",
        "metadata": {"name": name, "labels": {labels.WORKER_GROUP: "shared", labels.SHARD: shard}},
        "spec": {"function": function, "arguments": {"seconds": 600}},
    }
    await transport.send(requests.create(requests.EXECUTIONS, "default", body))
    await settled(client, name)


@pytest.mark.parametrize("moved", ["child", "parent", "child, then parent", "parent, then child"])
async def test_a_parent_gets_the_result_whoever_was_moved(client: Client, transport: KubeTransport, moved: str) -> None:
    """Also if both were."""
    handle = await client.spawn("wait_for_nap", {"seconds": 12}, result=str)
    await settled(client, handle.name)
    (child,) = await client.get_child_executions(handle.name)
    names = {"parent": handle.name, "child": child.metadata.name}
    before = {name: await settled(client, name) for name in names.values()}
    for one in moved.split(", then "):
        await move(transport, before[names[one]])
    assert await handle.result(timeout=SOON) == "rested"
    for role, name in names.items():
        shard = before[name].metadata.labels[labels.SHARD]
        assert (await client.get(name)).metadata.labels[labels.SHARD] == (OTHER[shard] if role in moved else shard)


async def test_a_child_that_was_moved_is_canceled_with_its_parent(client: Client, transport: KubeTransport) -> None:
    """The parent's replica ends what it does not run."""
    handle = await client.spawn("wait_for_nap", {"seconds": 600}, result=str)
    await settled(client, handle.name)
    (child,) = await client.get_child_executions(handle.name)
    await move(transport, await settled(client, child.metadata.name))
    await noticed(client, child.metadata.name)
    await client.cancel(handle.name)
    ended = await client.wait_for_execution(child.metadata.name, timeout=SOON)
    assert ended.phase is Phase.CANCELED


def moved_by(leader: Replica, *, since: int) -> list[str]:
    """Return what it has moved to another shard, in order."""
    return [line["execution"] for line in leader.events("reassigned", since=since)]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_parent_in_a_dead_shard_is_moved_first_if_its_child_ends_elsewhere(
    client: Client, transport: KubeTransport, pair: tuple[Replica, Replica], when: str
) -> None:
    """Whether the child ends before or after the verdict: what only sleeps is moved one Lease duration later."""
    leader, victim = pair
    parent, sleeper = f"parent-{when}", f"sleeper-{when}"
    known = leader.log.stat().st_size
    await create_in(client, transport, "w-1", parent, "wait_for_nap")
    await create_in(client, transport, "w-1", sleeper, "nap")
    (child,) = await client.get_child_executions(parent)
    await move(transport, await settled(client, child.metadata.name))
    await noticed(client, child.metadata.name)
    victim.kill()
    try:
        if when == "after":
            await asyncio.to_thread(leader.wait_for, "shard is dead", since=known)
        await client.cancel(child.metadata.name)
        ended = await client.wait_for_execution(parent, timeout=SOON)
        assert (ended.phase, ended.metadata.labels[labels.SHARD]) == (Phase.FAILED, "w-0")
        await eventually(lambda: parent in moved_by(leader, since=known))
        before = moved_by(leader, since=known)
        assert sleeper not in before[: before.index(parent)]
    finally:
        await client.cancel(sleeper)
        victim.start()
