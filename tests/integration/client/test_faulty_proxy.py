"""Through a proxy that loses, delays, repeats, cuts and garbles: no hang, no double spawn, no wrong result.

Each seed is another run of everything that a client can do; ``KONTINUE_PROXY_SEEDS=0:100`` plays others, or more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from api_server import ApiServer, kubeconfig_for
from colours import COLOURS, client_of
from faulty_proxy import Fault, FaultyProxy, faulty_proxy
from kontinue import errors
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Phase, ScheduledExecution, ScheduledExecutionSpec
from kontinue.client import Client, ClientOptions, SpawnOptions
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.http import REQUEST_S, KubeTransport
from played_worker import PlayedWorker, build

FIRST, LAST = map(int, os.environ.get("KONTINUE_PROXY_SEEDS", "0:2").split(":"))
CALL = timedelta(seconds=30)
"""Deadline of each call."""
GRACE_S = 30.0
"""By how much a busy machine may be late."""
TRY_S = 2.5
"""How long a transport waits for one answer: those that never come cost it."""
pytestmark = pytest.mark.slow


class Patient(KubeTransport):
    """Waits for answers for as long as transports do outside of this test."""

    async def send(self, request: requests.Request, **options: Any) -> bytes:
        return await super().send(request, **{"timeout_s": REQUEST_S, **options})


class World:
    """A client behind the proxy, and whoever sees what is true.

    Attributes:
        client: through the proxy, of either colour.
        direct: to the same namespace, not through the proxy.
        worker: writes statuses, not through the proxy.
        wanted: names of Executions that there are to be, by their function's arguments.
    """

    def __init__(self, client: Any, transport: KubeTransport, namespace: str) -> None:
        self.client = client
        self.direct = Client.from_kube(transport, namespace)
        self.worker = PlayedWorker(transport, namespace)
        self.wanted: list[str] = []
        self._spawned = 0

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client, which has to end in time."""
        async with asyncio.timeout(CALL.total_seconds() + GRACE_S):
            return await getattr(self.client, method)(*args, **kwargs)

    async def spawn(self) -> Any:
        """Spawn an Execution by definition."""
        self._spawned += 1
        handle = await self.call("spawn", build, f"target-{self._spawned}")
        self.wanted.append(handle.name)
        return handle

    async def end(self, awaiting: Any) -> Any:
        """Wait for what a handle waits for."""
        async with asyncio.timeout(CALL.total_seconds() + GRACE_S):
            return await awaiting


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, api_server: ApiServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    colour, seed = request.param
    monkeypatch.setattr("kontinue.kube.http.REQUEST_S", TRY_S)
    for module in ("http", "reflector", "patching"):
        monkeypatch.setattr(f"kontinue.kube.{module}.Backoff", lambda: Backoff(first_s=0.001, cap_s=0.05))
    async with contextlib.AsyncExitStack() as stack:
        transport = Patient(api_server.config, user_agent="direct")
        stack.push_async_callback(transport.close)
        proxy: FaultyProxy = await stack.enter_async_context(faulty_proxy(api_server, seed, late_s=0.1))
        kubeconfig = kubeconfig_for(api_server.namespace, api_server.kubeconfig, tmp_path / "proxied", server=proxy.url)
        options = ClientOptions(kubeconfig=str(kubeconfig), qps=None, timeout=CALL)
        client = await stack.enter_async_context(client_of(colour, options))
        one = World(client, transport, api_server.namespace)
        await one.worker.register()
        yield one
        print(f"seed {seed}:", {fault.name: proxy.done[fault] for fault in Fault})


async def spawns_and_results(world: World) -> None:
    """Each spawn is one Execution, whose own result is read."""
    handles = [await world.spawn() for _ in range(4)]
    waiting = [asyncio.ensure_future(world.end(handle.result())) for handle in handles]
    for handle in handles:
        await world.worker.write(handle.name, Phase.EXECUTING)
    running = await world.call("wait_for_execution", handles[0].name, until=["Executing", "Completed"])
    assert running.metadata.uid == handles[0].uid
    for handle in handles:
        await world.worker.write(handle.name, Phase.COMPLETED, result=[handle.name])
    assert await asyncio.gather(*waiting) == [[handle.name] for handle in handles]
    assert await world.end(handles[2].result()) == [handles[2].name]


async def attaches(world: World) -> None:
    """However often, it is the same one; with other arguments nothing is attached to."""
    once = SpawnOptions(name="once", if_exists="attach")
    uids = {(await world.call("spawn", "build", {"target": "x"}, options=once)).uid for _ in range(3)}
    world.wanted.append("once")
    assert len(uids) == 1
    with pytest.raises(errors.AlreadyExists, match=r"differ at \$\.target"):
        await world.call("spawn", "build", {"target": "y"}, options=once)
    with pytest.raises(errors.AlreadyExists, match="exists already"):
        await world.call("spawn", "build", {"target": "x"}, options=SpawnOptions(name="once"))


async def refusals_are_true(world: World) -> None:
    """What is not there, does not fit or is too late is told so, and nothing else is."""
    with pytest.raises(errors.NotFound, match="no Execution 'absent'"):
        await world.call("get", "absent")
    with pytest.raises(errors.NotFound):
        await world.call("wait_for_execution", "absent")
    with pytest.raises(errors.UnknownFunction, match="Did you mean 'build'"):
        await world.call("spawn", "bulid")
    with pytest.raises(errors.InvalidArguments, match="unknown targte"):
        await world.call("spawn", "build", {"targte": "x"})
    handle = await world.spawn()
    with pytest.raises(errors.InvalidState, match="it is Pending, not Failed or Canceled"):
        await world.call("retry_execution", handle)
    await world.worker.write(handle.name, Phase.COMPLETED, result=[])
    with pytest.raises(errors.InvalidState, match="it is Completed already"):
        await world.call("cancel", handle)


async def ends_and_retries(world: World) -> None:
    """Each wish is fulfilled once, and its own success is no refusal."""
    canceled, skipped = await world.spawn(), await world.spawn()
    await world.call("cancel", canceled, message="not needed")
    await world.call("skip", skipped.name, result=["by hand"])
    assert await world.end(skipped.result()) == ["by hand"]
    with pytest.raises(errors.ExecutionCanceled, match="not needed"):
        await world.end(canceled.result())
    await world.call("retry_execution", canceled)
    asked = await world.direct.get(canceled.name)
    assert asked.spec.retry is not None
    assert (asked.spec.retry.retries, asked.status.phase) == (1, Phase.CANCELED)
    with pytest.raises(errors.InvalidState, match="asked for already"):
        await world.call("retry_execution", canceled)


async def reads_and_trees(world: World) -> None:
    """What is read is what is there."""
    top = await world.spawn()
    for number in range(3):
        name = f"{top.name}-{number}"
        await world.worker.create_child(await world.direct.get(top.name), name, str(number))
        world.wanted.append(name)
    assert {one.metadata.name for one in await world.call("list")} == set(world.wanted)
    children = await world.call("get_child_executions", top)
    assert [one.metadata.name for one in children] == [f"{top.name}-{number}" for number in range(3)]
    tree = await world.call("get_tree", top)
    assert [node.name for _, node in tree.walk()] == [top.name, *(one.metadata.name for one in children)]
    assert [one.spec.name for one in await world.call("functions")] == ["build"]

    async def follow() -> None:
        async with world.client.watch_tree(top) as watcher:
            async for tree in watcher:
                phases = [node.phase for _, node in tree.walk()]
                if phases == ["Pending"] * 4:
                    await world.worker.write(f"{top.name}-1", Phase.FAILED)
                if phases == ["Pending", "Pending", "Failed", "Pending"]:
                    return

    await world.end(follow())


async def suspensions(world: World) -> None:
    """Whoever resumes is told that it was them, and what they have said is what stands there."""
    top = await world.spawn()
    parent = await world.direct.get(top.name)
    await world.worker.suspend(parent, f"{top.name}-ask", "1", payload_schema={"type": "integer"})
    await world.worker.suspend(parent, f"{top.name}-wait", "2")
    with pytest.raises(errors.InvalidPayload, match="expected integer, got 'seven'"):
        await world.call("resume_suspension", f"{top.name}-ask", "seven")
    await world.call("resume_suspension", f"{top.name}-ask", 7)
    found = await world.call("get_suspension", f"{top.name}-ask")
    assert msgspec.json.decode(found.status.payload) == 7
    with pytest.raises(errors.InvalidState, match="completed already by Client"):
        await world.call("resume_suspension", found, 8)
    await world.call("resume_execution", top)
    assert not (await world.direct.get_suspension(f"{top.name}-wait")).is_open


async def schedules(world: World) -> None:
    """Triggered once for each call."""
    spec = ScheduledExecutionSpec(schedule="0 3 * * *", function="build", arguments=msgspec.Raw(b'{"target":"x"}'))
    one = ScheduledExecution(metadata=ObjectMeta(name="nightly"), spec=spec)
    await world.direct.kube.send(requests.create(requests.SCHEDULED_EXECUTIONS, world.direct.namespace, one))
    await world.call("suspend_scheduled_execution", "nightly")
    assert (await world.call("get_scheduled_execution", "nightly")).spec.suspend
    await world.call("resume_scheduled_execution", "nightly")
    (found,) = await world.call("list_scheduled_executions")
    assert not found.spec.suspend
    for _ in range(2):
        world.wanted.append((await world.call("trigger_scheduled_execution", found)).name)
    assert len(await world.direct.list(schedule="nightly")) == 2


PARTS: tuple[Callable[[World], Any], ...] = (
    spawns_and_results,
    attaches,
    refusals_are_true,
    ends_and_retries,
    reads_and_trees,
    suspensions,
    schedules,
)


@pytest.mark.parametrize(
    "world", [(colour, str(seed)) for seed in range(FIRST, LAST) for colour in COLOURS], indirect=True, ids=" ".join
)
async def test_a_client_behind_a_bad_proxy_does_what_it_says(world: World) -> None:
    """Every call ends in time with what is true, and each Execution that was spawned is there once."""
    for part in PARTS:
        await part(world)
    there = Counter(one.metadata.name for one in await world.direct.list())
    assert there == Counter(world.wanted)
    targets = [msgspec.json.decode(one.spec.arguments).get("target") for one in await world.direct.list()]
    spawned = Counter(target for target in targets if target and target.startswith("target-"))
    assert set(spawned.values()) == {1}
