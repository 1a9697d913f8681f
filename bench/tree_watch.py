"""A client that watches a tree of 1,000 nodes with 50 updates per second: its CPU, its memory, how late it is.

The client is a process of its own (``watch``), which is measured from outside; its reader takes every state that it is
given and looks at the nodes that are others than before.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.figures import Figure, figure
from bench.objects import EXECUTIONS, LARGE_STATUS, NAMESPACE, execution
from bench.subjects import PAGE_BYTES, TICKS_PER_S, Subject, at_once, running, stat
from kontinue.api import labels
from kontinue.client import Client, ClientOptions, ExecutionTreeNode
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport

NAMES = (
    "tree_watch_cpu_percent",
    "tree_watch_us_per_update",
    "tree_watch_rss_mib",
    "tree_watch_grown_mib",
    "tree_watch_late_p99_ms",
)
CHILDREN = 31
"""Of the root, and of each child: with the Suspensions, a thousand nodes."""
SUSPENSIONS = 8
UPDATES_PER_S = 50
SECONDS = 20
ROOT = "tree"


def measure(names: Collection[str], rounds: int) -> Iterator[Figure]:
    """Measure once: what is told is an average over thousands of updates."""
    del names, rounds
    with tempfile.TemporaryDirectory() as folder, running("local", Path(folder)) as subject:
        yield from asyncio.run(_measure(subject))


async def _measure(subject: Subject) -> list[Figure]:
    async with subject.transport() as transport:
        leaves = await _plant(transport)
        async with _watching(subject.kubeconfig) as (pid, told):
            first = json.loads(await told.readline())
            begun_cpu_s, begun_s, begun_bytes = _cpu_s(pid), time.monotonic(), _rss_bytes(pid)
            written = await _update(transport, leaves)
            cpu_s, took_s, end_bytes = _cpu_s(pid) - begun_cpu_s, time.monotonic() - begun_s, _rss_bytes(pid)
            await _write(transport, ROOT, {"phase": "Completed"})
            last = json.loads(await told.readline())
    late_ms = sorted(1000 * (seen_s - written[name]) for name, seen_s in last["seen"].items() if name in written)
    note = (
        f"{first['nodes']} nodes, {len(written)} updates in {took_s:.0f} s, {last['trees']} trees built, local server"
    )
    return [
        figure("tree_watch_cpu_percent", 100 * cpu_s / took_s, note),
        figure("tree_watch_us_per_update", 1e6 * cpu_s / len(written), note),
        figure("tree_watch_rss_mib", end_bytes / 2**20, note),
        figure("tree_watch_grown_mib", (end_bytes - begun_bytes) / 2**20, note),
        figure("tree_watch_late_p99_ms", late_ms[int(len(late_ms) * 0.99)], note),
    ]


async def _plant(transport: KubeTransport) -> list[str]:
    """Create the tree; return the names of those that are updated."""
    root = await _create(transport, EXECUTIONS, execution(ROOT), None)
    parents = [await _create(transport, EXECUTIONS, execution(f"c{number}"), root) for number in range(CHILDREN)]
    leaves: list[str] = []

    async def grow(number: int) -> None:
        parent = parents[number // (CHILDREN - 1)]
        name = f"{parent['metadata']['name']}-{number}"
        await _create(transport, EXECUTIONS, execution(name), parent)
        await _write(transport, name, {**LARGE_STATUS, "phase": "Executing"})
        leaves.append(name)

    await at_once(16, grow, CHILDREN * (CHILDREN - 1))
    for number in range(SUSPENSIONS):
        spec = {"execution": ROOT, "kind": "Manual", "displayName": f"question {number}"}
        meta = {"name": f"s{number}"}
        body = {"apiVersion": labels.API_VERSION, "kind": "Suspension", "metadata": meta, "spec": spec}
        await _create(transport, requests.SUSPENSIONS, body, root)
    return sorted(leaves)


async def _create(
    transport: KubeTransport, resource: requests.Resource, body: dict[str, Any], parent: dict[str, Any] | None
) -> dict[str, Any]:
    if parent is not None:
        meta = parent["metadata"]
        owner = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": meta["name"], "uid": meta["uid"]}
        mine = body["metadata"]
        mine["labels"] = {**mine.get("labels", {}), labels.ROOT: ROOT, labels.PARENT: meta["name"]}
        mine["ownerReferences"] = [owner]
    created: dict[str, Any] = json.loads(await transport.send(requests.create(resource, NAMESPACE, body)))
    return created


async def _update(transport: KubeTransport, names: list[str]) -> dict[str, float]:
    """Write statuses evenly over the time; return when each mark was acknowledged."""
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    written: dict[str, float] = {}
    for number in range(UPDATES_PER_S * SECONDS):
        await asyncio.sleep(max(0.0, begin_s + number / UPDATES_PER_S - loop.time()))
        mark = f"mark-{number}"
        await _write(transport, names[number * 7 % len(names)], {"message": mark})
        written[mark] = time.time()
    return written


async def _write(transport: KubeTransport, name: str, status: dict[str, Any]) -> None:
    await transport.send(requests.merge_patch(EXECUTIONS, NAMESPACE, name, {"status": status}, subresource="status"))


@contextlib.asynccontextmanager
async def _watching(kubeconfig: Path) -> AsyncIterator[tuple[int, asyncio.StreamReader]]:
    command = [sys.executable, "-c", f"from bench.tree_watch import main; main({str(kubeconfig)!r})"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[1], limit=2**22
    )
    assert process.stdout is not None
    try:
        yield process.pid, process.stdout
    finally:
        process.terminate()
        await process.wait()


def main(kubeconfig: str) -> None:
    """Be the client that is measured: tell when the tree is there, and at its end when each mark was seen."""
    asyncio.run(watch(kubeconfig))


async def watch(kubeconfig: str) -> None:
    """Follow the tree until its root has ended."""
    seen: dict[str, float] = {}
    trees = 0
    before: ExecutionTreeNode | None = None
    async with Client(ClientOptions(kubeconfig=kubeconfig, qps=None)) as client, client.watch_tree(ROOT) as watcher:
        async for tree in watcher:
            trees += 1
            if trees == 1:
                print(json.dumps({"nodes": sum(1 for _ in tree.walk())}), flush=True)
            for node in _changed(tree.root, before):
                seen.setdefault(node.message, time.time())
            before = tree.root
            if tree.root.phase == "Completed":
                break
    print(json.dumps({"trees": trees, "seen": seen}), flush=True)


def _changed(new: ExecutionTreeNode, old: ExecutionTreeNode | None) -> Iterator[ExecutionTreeNode]:
    if new is old:
        return
    yield new
    olds: Sequence[ExecutionTreeNode | None] = old.children if old is not None else ()
    for node, known in itertools.zip_longest(new.children, olds):
        if node is not None:
            yield from _changed(node, known)


def _cpu_s(pid: int) -> float:
    return sum(map(int, stat(pid)[11:13])) / TICKS_PER_S


def _rss_bytes(pid: int) -> int:
    return int(stat(pid)[21]) * PAGE_BYTES
