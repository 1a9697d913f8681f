"""Figures of archives: how large one is against the objects that it replaces, and how many trees a leader archives."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import uvloop

from bench import load
from bench.engine import ROOT
from bench.figures import Figure, figure
from cluster import Cluster
from kontinue import Retention
from kontinue.client import Client, SpawnOptions
from kontinue.kube import requests
from kontinue.kube.requests import Resource

CHILDREN, STEPS, TREES = 100, 1_000, 100
LATER = timedelta(seconds=30)
"""Long enough to look at what is about to be archived."""
LONG = timedelta(minutes=5)
NAMES = {
    server: (
        f"{server}_archive_children{CHILDREN}_vs_originals",
        f"{server}_archive_steps{STEPS}_vs_originals",
        f"{server}_archived_trees_per_s",
    )
    for server in ("local", "kube")
}


class _List(msgspec.Struct):
    items: list[msgspec.Raw] = []


def measure(server: str, wanted: Collection[str], rounds: int) -> Iterator[Figure]:
    """Measure all of them, once."""
    del wanted, rounds
    with tempfile.TemporaryDirectory(prefix="kontinue-archives-") as name:
        folder = Path(name)
        with Cluster(folder, "bench.app:app", app_dir=ROOT, server=server) as cluster:
            yield from uvloop.run(_archives(server, cluster, folder))


async def _archives(server: str, cluster: Cluster, folder: Path) -> list[Figure]:
    marks = folder / "marks"
    marks.write_text("0\n0\n")  # nobody is waited for
    async with Client(load.client_options(cluster)) as client:
        fanned = await _ratio(client, "fanout", {"count": CHILDREN})
        stepped = await _ratio(client, "steps_then_mark", {"count": STEPS, "marks": str(marks)})
        rate = await _rate(client)
    ratio = "bytes of ArchivedExecutions by bytes of the objects before, both as the server sends them"
    names = NAMES[server]
    return [
        figure(names[0], fanned, f"{ratio}: a parent with {CHILDREN} trivial children"),
        figure(names[1], stepped, f"{ratio}: {STEPS} steps with results of some bytes, MemoPages included"),
        figure(names[2], rate, f"{TREES} trivial Executions that are due at once; the leader paces itself"),
    ]


async def _ratio(client: Client, function: str, arguments: dict[str, object]) -> float:
    """Run a function, and return how large its archive is against the objects that it replaces."""
    options = SpawnOptions(ttl=Retention(archive_after=LATER))
    handle = await client.spawn(function, arguments, result=int, options=options)
    await handle.result(timeout=LONG)
    before = [await _size(client, one) for one in (requests.EXECUTIONS, requests.MEMO_PAGES)]
    await _until_nothing_lives(client)
    size = await _size(client, requests.ARCHIVED_EXECUTIONS)
    await _clear(client)
    return size / sum(before)


async def _rate(client: Client) -> float:
    """Return how many trees are archived in a second."""
    options = SpawnOptions(ttl=Retention(archive_after=timedelta(seconds=5)))
    for _ in range(TREES):
        await (await client.spawn("trivial", {"n": 1}, result=int, options=options)).result(timeout=LONG)
    await _until_archived(client, 1)
    begun = time.perf_counter()
    await _until_archived(client, TREES)
    return (TREES - 1) / (time.perf_counter() - begun)


async def _size(client: Client, resource: Resource) -> int:
    return sum(len(bytes(one)) for one in await _list(client, resource))


async def _list(client: Client, resource: Resource) -> list[msgspec.Raw]:
    body = await client.kube.send(requests.list_objects(resource, client.namespace))
    return msgspec.json.decode(body, type=_List).items


async def _until_nothing_lives(client: Client) -> None:
    async with asyncio.timeout(LONG.total_seconds()):
        while await _list(client, requests.EXECUTIONS):  # noqa: ASYNC110 - another process deletes them
            await asyncio.sleep(0.2)


async def _until_archived(client: Client, count: int) -> None:
    async with asyncio.timeout(LONG.total_seconds()):
        while len(await _list(client, requests.ARCHIVED_EXECUTIONS)) < count:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)


async def _clear(client: Client) -> None:
    await client.kube.send(requests.Request("DELETE", requests.ARCHIVED_EXECUTIONS.path(client.namespace)))
