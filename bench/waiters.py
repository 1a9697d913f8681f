"""Figures of 1,000 waits for one WaitGroup: what they cost a client process and the server, and how soon all are over.

``waiters1000``: tasks of one process that share a WaitGroup object, and so one watch. ``watches1000``: each wait has an
object and a watch of its own, as it would have in a thousand processes.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

import uvloop

from bench.figures import Figure, figure
from bench.peers import Peer, peers
from bench.primitives import client_of, coordinator
from bench.subjects import PAGE_BYTES, TICKS_PER_S, Subject, running, stat
from kontinue.sync import WaitGroup

WAITS = 1_000
SETTLED_S = 2.0
"""The last watches are open, and what was needed for that is free again."""
KINDS = {
    "waiters1000": (1, f"{WAITS:,} waits of one process for one WaitGroup, which share a watch"),
    "watches1000": (WAITS, f"{WAITS:,} waits of one process for one WaitGroup, each with a watch of its own"),
}
VALUES = ("client_bytes", "server_bytes", "client_cpu_us", "server_cpu_us", "begin_s", "all_awake_ms")


def names(server: str) -> tuple[str, ...]:
    """Return the figures of a server, ``local`` or ``kube``."""
    return tuple(f"{server}_{kind}_{value}" for kind in KINDS for value in VALUES)


def measure(server: str, wanted: Collection[str], rounds: int) -> Iterator[Figure]:
    """Measure each kind of which something is wanted, once, on a server of its own."""
    del rounds
    for kind in KINDS:
        if not any(name.startswith(f"{server}_{kind}_") for name in wanted):
            continue
        with (
            tempfile.TemporaryDirectory(prefix="kontinue-bench-") as folder,
            running(server, Path(folder)) as subject,
            coordinator(subject),
        ):
            yield from uvloop.run(_measure(server, kind, subject))


async def _measure(server: str, kind: str, subject: Subject) -> list[Figure]:
    watches, what = KINDS[kind]
    async with client_of(subject) as client, peers(subject.kubeconfig, 2) as (waiting, doing):
        for count in (1, WAITS):  # the first time is for what each process needs once
            group = WaitGroup(f"waiters-{uuid.uuid4().hex[:8]}", client)
            await group.create()
            await group.add()
            used = await _once(subject, waiting, doing, group.name, count, min(count, watches))
    prefix, each = f"{server}_{kind}", f"{server} server, {what}; for each wait"
    return [
        figure(f"{prefix}_client_bytes", used["client_bytes"] / WAITS, f"{each}: resident memory while all wait"),
        figure(f"{prefix}_server_bytes", used["server_bytes"] / WAITS, f"{each}: resident memory while all wait"),
        figure(f"{prefix}_client_cpu_us", used["client_cpu_s"] / WAITS * 1e6, f"{each}: begin, and end"),
        figure(f"{prefix}_server_cpu_us", used["server_cpu_s"] / WAITS * 1e6, f"{each}: begin, and end"),
        figure(f"{prefix}_begin_s", used["begin_s"], f"{what}: until each has read the group"),
        figure(f"{prefix}_all_awake_ms", used["awake_s"] * 1e3, f"{what}: begin of the last done until all are over"),
    ]


async def _once(subject: Subject, waiting: Peer, doing: Peer, name: str, count: int, watches: int) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    before = _used(subject, waiting)
    begun_s = loop.time()
    await waiting.does("wait", name=name, count=count, watches=watches)
    begin_s = loop.time() - begun_s
    await asyncio.sleep(SETTLED_S)
    during = _used(subject, waiting)
    done = await doing.does("done_once", name=name)
    woken = await waiting.told()
    await asyncio.sleep(SETTLED_S)
    after = _used(subject, waiting)
    memory = {key: during[key] - before[key] for key in ("client_bytes", "server_bytes")}
    cpu = {key: after[key] - before[key] for key in ("client_cpu_s", "server_cpu_s")}
    return {**memory, **cpu, "begin_s": begin_s, "awake_s": max(woken["woken_s"]) - done["at_s"]}


def _used(subject: Subject, client: Peer) -> dict[str, float]:
    fields = stat(client.pid)
    return {
        "client_bytes": int(fields[21]) * PAGE_BYTES,
        "client_cpu_s": sum(map(int, fields[11:13])) / TICKS_PER_S,
        "server_bytes": subject.rss_bytes,
        "server_cpu_s": subject.cpu_s,
    }
