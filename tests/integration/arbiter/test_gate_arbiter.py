"""Gates of ``konductor.io`` with their coordinator: each kind opens one, once, and nothing is told to strangers."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from api import unique
from api_server import ApiServer
from job_answers import end_job
from kontinue import errors
from kontinue.api.konductor.gates import GATES_FROM
from kontinue.client import Client, ClientOptions, SyncClient
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import Request
from kontinue.kube.transport import Transport
from kontinue.sync import (
    Barrier,
    Gate,
    GatePhase,
    Lease,
    Mutex,
    Once,
    Semaphore,
    SyncGate,
    WaitGroup,
)
from kontinue_engine.arbiter.gates import GateController
from kontinue_engine.arbiter.process import USER_AGENT
from kontinue_engine.clock import SystemClock
from kontinue_engine.kube.events import EventRecorder
from looked_after import World
from polling import eventually

LONG = timedelta(seconds=60)
PAGE = Path(__file__).parents[3] / "docs" / "gates.md"
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "it"},
    "spec": {
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "work"}]}},
    },
}


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    transport = api_server.transport()
    yield World(transport, api_server.namespace)
    await transport.close()


@pytest.fixture
def go(world: World) -> Gate:
    """A Gate that does not exist yet."""
    return Gate("go", world.client)


async def has_free_permits(world: World) -> None:
    """Create a Semaphore."""
    await Semaphore("it", world.client).create(2)


async def has_open_barrier(world: World) -> None:
    """Create a Barrier and arrive."""
    barrier = Barrier("it", world.client)
    await barrier.create(1)
    await barrier.arrive("me")


async def has_held_lease(world: World) -> None:
    """Create a Lease and take it."""
    lease = Lease("it", world.client)
    await lease.create()
    await lease.acquire(holder="me", timeout=LONG)


async def has_open_gate(world: World) -> None:
    """Create a Gate that opens."""
    await WaitGroup("quiet", world.client).create()
    await Gate("it", world.client).create(["WaitGroup/quiet=Done"])


async def has_locked_mutex(world: World) -> None:
    """Create a Mutex and lock it."""
    await Mutex("it", world.client).create()
    await Mutex("it", world.client).lock(holder="me")


async def has_done_once(world: World) -> None:
    """Create a Once and do it."""
    await Once("it", world.client).create()
    await Once("it", world.client).do(lambda _: asyncio.sleep(0))


async def has_busy_wait_group(world: World) -> None:
    """Create a WaitGroup and add to it."""
    await WaitGroup("it", world.client).create()
    await WaitGroup("it", world.client).add()


@pytest.mark.parametrize(
    ("condition", "make"),
    [
        ("Semaphore/it=Available:2", has_free_permits),
        ("Barrier/it=Open", has_open_barrier),
        ("Lease/it=Acquired", has_held_lease),
        ("Gate/it=Open", has_open_gate),
        ("Mutex/it=Locked", has_locked_mutex),
        ("Once/it=Done", has_done_once),
        ("WaitGroup/it=NonZero", has_busy_wait_group),
    ],
)
async def test_each_kind_opens_a_gate(world: World, go: Gate, condition: str, make: Any):
    """Not before it is as the condition wants it."""
    await go.create([condition])
    async with world.looked_after():
        waiting = asyncio.create_task(go.wait(timeout=LONG))
        await eventually(lambda: _says(go, "there is no "))
        assert not waiting.done()
        await make(world)
        opened = await waiting
    assert (opened.status.phase, opened.status.met) == (GatePhase.OPEN, "1/1")
    assert opened.status.opened_at is not None
    assert [one.message for one in opened.status.condition_statuses] == [""]


async def test_a_job_opens_a_gate(world: World, api_server: ApiServer, go: Gate):
    """Once it is complete, not as long as it runs."""
    await go.create(["Job/it=Complete"])
    async with world.looked_after():
        waiting = asyncio.create_task(go.wait(timeout=LONG))
        await eventually(lambda: _says(go, "there is no Job it"))
        created = await world.transport.send(requests.create(requests.JOBS, world.namespace, JOB))
        await eventually(lambda: _says(go, "it is "))
        assert not waiting.done()
        await end_job(api_server, world.transport, json.loads(created))
        assert (await waiting).status.phase is GatePhase.OPEN


async def _says(go: Gate, text: str) -> bool:
    return any(text in one.message for one in (await go.status()).condition_statuses)


async def test_it_opens_once_for_all_of_its_conditions(world: World, go: Gate):
    """And stays open whatever becomes of them, for a coordinator that begins then, too; an Event has told."""
    first, second = (WaitGroup(name, world.client) for name in ("first", "second"))
    for group in (first, second):
        await group.create()
        await group.add()
    await go.create(["WaitGroup/first=Done", "WaitGroup/second=Done"])
    async with world.looked_after():
        await first.done()
        await eventually(lambda: _met(go, "1/2"))
        assert [one.message for one in (await go.status()).condition_statuses] == ["", "it is Waiting"]
        await second.done()
        opened = await go.wait(timeout=LONG)
        await eventually(lambda: world.events("Opened"))
    await first.add()
    async with world.looked_after():
        later = Gate("later", world.client)
        await later.create(["WaitGroup/first=NonZero"])
        await later.wait(timeout=LONG)
        assert (await go.get()).status == opened.status


async def _met(go: Gate, text: str) -> bool:
    return (await go.status()).met == text


async def test_what_becomes_so_while_nobody_looks_opens_it_then(world: World, go: Gate):
    """Also when its time is over meanwhile: nobody has said that it failed."""
    group = WaitGroup("jobs", world.client)
    await group.create()
    await group.add()
    await go.create(["WaitGroup/jobs=Done"], timeout=timedelta(milliseconds=1))
    waiting = asyncio.create_task(go.wait(timeout=LONG))
    await group.done()
    async with world.looked_after():
        assert (await waiting).status.phase is GatePhase.OPEN


class NoJobs:
    """A transport to a server that lets nobody read Jobs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, request: Request, **options: Any) -> bytes:
        """Send what is not about Jobs."""
        if "/jobs" in request.path:
            raise errors.Forbidden("jobs.batch is forbidden", status=403, reason="Forbidden")
        return await self._transport.send(request, **options)

    def stream(self, request: Request, **options: Any) -> Any:
        """Watch."""
        return self._transport.stream(request, **options)


async def test_what_may_not_be_read_is_said_and_keeps_no_gate_from_failing(world: World, go: Gate):
    """Gates about other kinds go on."""
    await go.create(["Job/migrate=Complete"], timeout=timedelta(milliseconds=1))
    other = Gate("other", world.client)
    await other.create(["WaitGroup/jobs=Done"])
    await WaitGroup("jobs", world.client).create()
    async with gates_looked_after(NoJobs(world.transport), world.namespace):
        await other.wait(timeout=LONG)
        with pytest.raises(errors.InvalidState, match=r"it cannot be read: jobs\.batch is forbidden"):
            await go.wait(timeout=LONG)


async def test_it_fails_when_its_time_is_over(world: World, go: Gate):
    """Who waits is told what was missing, and an Event tells, too."""
    await go.create(["Mutex/deploy=Locked"], timeout=timedelta(milliseconds=1))
    async with world.looked_after():
        with pytest.raises(errors.InvalidState, match=r"has failed: not within 1ms: Mutex deploy is to be Locked"):
            await go.wait(timeout=LONG)
        await eventually(lambda: world.events("TimedOut"))


async def test_somebody_opens_and_closes_it(world: World, go: Gate):
    """The coordinator leaves it so; after a reset the conditions decide, anew."""
    group = WaitGroup("jobs", world.client)
    await group.create()
    await group.add()
    await go.create(["WaitGroup/jobs=Done"])
    assert not await go.check()
    await go.open()
    assert await go.check()  # nobody looks after it yet
    async with world.looked_after():
        await eventually(lambda: _phase(go, GatePhase.OPEN))
        await go.close()
        await group.done()
        await eventually(lambda: _met(go, "1/1"))
        assert (await go.status()).phase is GatePhase.WAITING
        with pytest.raises(errors.WaitTimeout, match="it was closed by hand"):
            await go.wait(timeout=timedelta())
        await go.reset()
        assert (await go.wait(timeout=LONG)).status.override is None
        await group.add()
        await go.close()
        await eventually(lambda: _phase(go, GatePhase.WAITING))
        await go.reset()
        await eventually(lambda: _says(go, "it is Waiting"))
        assert not await go.check()


async def _phase(go: Gate, phase: GatePhase) -> bool:
    return (await go.status()).phase is phase


class TornReads:
    """A transport whose watch of WaitGroups is late, and which reads one only once it may."""

    def __init__(self, inner: KubeTransport) -> None:
        self._inner = inner
        self.chunks = inner.chunks
        self.watches_flow = asyncio.Event()
        self.watches_flow.set()
        self.mutex_is_read = asyncio.Event()
        self.group_is_read = asyncio.Event()

    async def stream(self, request: Request, **options: Any) -> AsyncGenerator[bytes, None]:
        """Pass on what a watch shows, but not of WaitGroups while that is late."""
        async for line in self._inner.stream(request, **options):
            if "/waitgroups" in request.path:
                await self.watches_flow.wait()
            yield line

    async def send(self, request: Request, **options: Any) -> bytes:
        """Send it; one WaitGroup is read when it may be."""
        is_read = request.method == "GET" and "metadata.name" in request.query
        if is_read and "/waitgroups" in request.path:
            await self.group_is_read.wait()
        body = await self._inner.send(request, **options)
        if is_read and "/mutexes" in request.path:
            self.mutex_is_read.set()
        return body


async def test_a_gate_does_not_open_for_what_was_never_so_at_once(world: World, go: Gate):
    """One was so, then the other, and the answers of the API server came in between."""
    mutex, group = await world.mutex("deploy"), await world.group("jobs")
    lock = await mutex.lock(holder="worker")
    await go.create(["Mutex/deploy=Unlocked", "WaitGroup/jobs=Done"])
    transport = TornReads(world.transport)
    async with gates_looked_after(transport, world.namespace):
        await eventually(lambda: _met(go, "1/2"))
        transport.watches_flow.clear()
        await group.add()
        await mutex.unlock(lock)
        await transport.mutex_is_read.wait()
        lock = await mutex.lock(holder="worker")  # never has it been unlocked while the group was done
        await group.done()
        transport.group_is_read.set()
        marker = Gate("marker", world.client)
        await marker.create(["Mutex/deploy=Locked"])
        await marker.wait(timeout=LONG)
        assert (await go.status()).phase is GatePhase.WAITING
        transport.watches_flow.set()
        await mutex.unlock(lock)
        await go.wait(timeout=LONG)


async def test_a_gate_opens_although_what_it_waits_for_changes_all_the_time(world: World, go: Gate):
    """Between two changes it is read twice."""
    await world.mutex("deploy")
    group = await world.group("jobs")
    await group.add()

    async def work() -> None:
        while True:
            await group.add()
            await group.done()

    async with gates_looked_after(world.transport, world.namespace):
        working = asyncio.create_task(work())
        await go.create(["Mutex/deploy=Unlocked", "WaitGroup/jobs=NonZero"])
        await go.wait(timeout=LONG)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_gates_that_wait_for_each_other_come_to_rest(world: World):
    """Nobody writes any more, until somebody opens one of them; one that waits for itself is told so."""
    left, right, self = (Gate(name, world.client) for name in ("left", "right", "self"))
    await left.create(["Gate/right=Open"])
    await right.create(["Gate/left=Open"])
    await self.create(["Gate/self=Open"])
    async with world.looked_after():
        await eventually(lambda: _says(left, "it is Waiting"))
        await eventually(lambda: _says(right, "it is Waiting"))
        await eventually(lambda: _says(self, "would wait for itself"))
        before = [(await one.get()).metadata.resource_version for one in (left, right, self)]
        marker = Gate("marker", world.client)
        await marker.create(["Gate/left=Closed"])
        await marker.wait(timeout=LONG)
        assert [(await one.get()).metadata.resource_version for one in (left, right, self)] == before
        await left.open()
        await right.wait(timeout=LONG)


async def test_a_gate_of_another_namespace_learns_only_what_it_may(api_server: ApiServer, world: World, go: Gate):
    """What is there has to name its namespace; else it is told the same as if there was nothing."""
    there = unique("there")
    await world.transport.send(requests.create(requests.NAMESPACES, "", {"metadata": {"name": there}}))
    group = WaitGroup("jobs", Client.from_kube(world.transport, there))
    await go.create([f"WaitGroup/{there}/jobs=Done"])
    hidden = f"there is no WaitGroup jobs in {there}, or its annotation {GATES_FROM} does not name {world.namespace}"
    async with gates_looked_after(world.transport, ""):
        await eventually(lambda: _says(go, hidden))
        before = (await go.get()).metadata.resource_version
        await group.create()
        marker = Gate("marker", Client.from_kube(world.transport, there))
        await marker.create(["WaitGroup/jobs=Done"])
        await marker.wait(timeout=LONG)
        assert (await go.get()).metadata.resource_version == before
        patch = {"metadata": {"annotations": {GATES_FROM: world.namespace}}}
        await world.transport.send(requests.merge_patch(requests.WAIT_GROUPS, there, "jobs", patch))
        await go.wait(timeout=LONG)


async def test_a_coordinator_of_one_namespace_says_that_it_sees_no_other(world: World, go: Gate):
    """Somebody who waits for what is elsewhere is not left to wonder."""
    await go.create(["Mutex/elsewhere/deploy=Locked"])
    async with world.looked_after():
        await eventually(lambda: _says(go, f"the coordinator looks after {world.namespace} alone"))


@contextlib.asynccontextmanager
async def gates_looked_after(transport: Transport, namespace: str) -> AsyncIterator[None]:
    """Have a coordinator look after the Gates of a namespace meanwhile, or of all."""
    clock = SystemClock()
    events = EventRecorder(transport, component=USER_AGENT, instance="test", clock=clock)
    looking = asyncio.create_task(GateController(transport, namespace=namespace, events=events, clock=clock).run())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def test_the_synchronous_twin_does_the_same(world: World, api_server: ApiServer):
    """With the same methods and parameters."""

    def methods(of_: type) -> dict[str, list[str]]:
        found = inspect.getmembers(of_, inspect.isfunction)
        return {name: list(inspect.signature(one).parameters) for name, one in found if name[0] != "_"}

    assert methods(SyncGate) == methods(Gate)

    def use() -> list[object]:
        with SyncClient(ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as client:
            go = SyncGate("go", client)
            go.create(["WaitGroup/jobs=Done"])
            seen: list[object] = [go.wait(timeout=LONG).status.met, go.check()]
            go.close()
            go.wait_until(lambda found: found.status.phase is GatePhase.WAITING, timeout=LONG)
            seen += [go.check(), go.open().phase, go.get().phase]
            go.reset()
            go.wait(timeout=LONG)
            seen.append(go.status().override)
            go.delete()
            return seen

    await WaitGroup("jobs", world.client).create()
    async with world.looked_after():
        assert await asyncio.to_thread(use) == ["1/1", True, False, GatePhase.OPEN, GatePhase.OPEN, None]


async def test_the_program_of_the_documentation_runs(world: World, api_server: ApiServer, tmp_path: Path):
    """That of docs/gates.md, as it stands there; its manifest, too."""
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (manifest,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    await world.transport.send(requests.create(requests.GATES, world.namespace, yaml.safe_load(manifest)))
    (tmp_path / "begin.py").write_text(program)
    async with world.looked_after():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "begin.py"),
            cwd=tmp_path,
            env={**os.environ, "KUBECONFIG": str(api_server.kubeconfig)},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
    assert (process.returncode, printed) == (0, b"2/2 conditions are met\n")
