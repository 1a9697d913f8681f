"""Archives made by real workers, whose leaders die, and read by clients and the command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kontinue import Retention
from kontinue.api import labels
from kontinue.client import Client, SpawnOptions
from kontinue.kube import requests
from replica import Replica, replicas
from startable import StartableServer

HERE = Path(__file__).parent
SOON = timedelta(seconds=120)
FAMILIES = 12

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(own_server: StartableServer, tmp_path: Path) -> Iterator[list[Replica]]:
    """Two replicas that archive whatever has ended a second ago."""
    options = ("--archive-after", "1s")
    with replicas(tmp_path, own_server.kubeconfig, "retention_app:app", HERE, "w-0", "w-1", options=options) as started:
        yield started


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON.total_seconds()):
        while not await check():
            await asyncio.sleep(0.05)


async def until_archived(client: Client, count: int) -> None:
    """Wait until nothing lives, and there are so many archives."""

    async def is_so() -> bool:
        if await client.list(include_archived=False):
            return False
        return len(await client.list(only_root=True)) == count

    await until(is_so)


async def clear(client: Client) -> None:
    """Delete all archives."""
    path = requests.ARCHIVED_EXECUTIONS.path(client.namespace)
    await client.kube.send(requests.Request("DELETE", path))
    await until_archived(client, 0)


async def test_every_tree_is_archived_once_whoever_dies(client: Client, pair: list[Replica]) -> None:
    """Whoever leads is killed while it archives; nothing is lost, and nobody who waits notices."""
    handles = [await client.spawn("family", {"number": number}, result=int) for number in range(FAMILIES)]

    async def some_are_archived() -> bool:
        return any(one.is_archived for one in await client.list(only_root=True))

    await until(some_are_archived)
    for replica in pair:
        replica.kill()
        replica.start()
    assert [await handle.result(timeout=SOON) for handle in handles] == [4 * number + 2 for number in range(FAMILIES)]
    await until_archived(client, FAMILIES)
    for handle in handles:
        tree = await client.get_tree(handle)
        assert tree.is_archived
        assert [node.phase for _, node in tree.walk()] == ["Completed"] * 3

    async def is_once_each() -> bool:
        body = await client.kube.send(requests.list_objects(requests.ARCHIVED_EXECUTIONS, client.namespace))
        return len(json.loads(body)["items"]) == FAMILIES

    await until(is_once_each)
    await clear(client)


async def test_the_command_line_reads_what_is_archived(
    client: Client, pair: list[Replica], own_server: StartableServer
) -> None:
    """Each verb that shows an Execution, with a mark; long histories are whole."""
    keep = Retention(archive_after=timedelta(seconds=1), delete_after=timedelta(days=30))
    options = SpawnOptions(name="order-7", ttl=keep)
    handle = await client.spawn("family", {"number": 1, "notes": 40}, result=int, options=options)
    assert await handle.result(timeout=SOON) == 6
    await until_archived(client, 1)

    async def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "kontinue_engine.cli", "--kubeconfig", str(own_server.kubeconfig), *arguments]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "Completed, archived" in await run("get", "order-7")
    assert "order-7" not in await run("get")
    assert "Completed, archived" in await run("get", "--archived", "--roots", "--function", "family")
    assert await run("result", "order-7") == "6\n"
    assert await run("wait", "order-7") == "Completed\n"
    tree = await run("tree", "order-7")
    assert (tree.count("double"), "order-7" in await run("tree", "-w", "order-7")) == (2, True)
    described = await run("describe", "-o", "wide", "order-7")
    assert "Archived:   in order-7-" in described
    assert described.count("noted") >= 40
    printed = json.loads(await run("get", "-o", "json", "order-7"))
    assert printed["metadata"]["annotations"][labels.ARCHIVED_IN].startswith("order-7-")
    await clear(client)
