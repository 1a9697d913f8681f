"""Runners of a real worker that are too large, too old, or have lost a thread; and a longer grace to clean up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import psutil
import pytest

from kontinue.api.v1alpha1 import Phase
from kontinue.client import Client
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from polling import stopped
from replica import replicas
from startable import StartableServer

HERE = Path(__file__).parent
SOON = timedelta(seconds=60)
OPTIONS = ("--runner-memory-mib", "160", "--recycle-after", "3", "--crash-budget", "1", "--cancel-grace", "600")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def worker(own_server: StartableServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One replica, whose runners may use little memory."""
    folder = tmp_path_factory.mktemp("replica")
    with replicas(folder, own_server.kubeconfig, "runner_app:app", HERE, "w-0", options=OPTIONS):
        yield


async def reasons_of_events(transport: KubeTransport, name: str) -> set[str]:
    body = await transport.send(requests.list_objects(requests.EVENTS, "default"))
    items = msgspec.json.decode(body)["items"]
    return {item["reason"] for item in items if item["involvedObject"]["name"] == name}


@pytest.mark.parametrize("function", ["hoard", "async_hoard"])
async def test_who_takes_too_much_memory_fails_with_a_reason_of_its_own(
    client: Client, transport: KubeTransport, function: str
) -> None:
    """On the budget of crashes: it is resumed first, and an Event says why."""
    handle = await client.spawn(function, {"mib": 300})
    ended = await client.wait_for_execution(handle, timeout=SOON)
    assert (ended.phase, ended.status.reason) == (Phase.FAILED, "OutOfMemory")
    assert "MiB of memory, the limit is 160 MiB (2 times without a new record in between)" in ended.status.message
    async with asyncio.timeout(SOON.total_seconds()):
        while "OutOfMemory" not in await reasons_of_events(transport, handle.name):
            await asyncio.sleep(0.1)


async def test_runners_are_replaced_after_a_number_of_activations(client: Client) -> None:
    """Each Execution runs once, and nobody is charged for it."""
    pids = []
    for _ in range(9):
        handle = await client.spawn("pid", {}, result=int)
        pids.append(await handle.result(timeout=SOON))
        assert (await client.get(handle.name)).status.crashes == 0
    assert len(set(pids)) >= 3


async def test_what_waits_on_a_runner_that_is_replaced_is_replayed_when_it_wakes(
    client: Client, tmp_path: Path
) -> None:
    """Nothing of it unwinds, it is charged with nothing, and it ends in another process."""
    waiting = await client.spawn("wait", {"file": str(tmp_path / "wait")}, result=int)
    async with asyncio.timeout(SOON.total_seconds()):
        while not (begun := list(tmp_path.glob("wait.begun-*"))):
            await asyncio.sleep(0.02)
    first = int(begun[0].suffix.rpartition("-")[2])
    async with asyncio.timeout(SOON.total_seconds()):
        while psutil.pid_exists(first):
            await (await client.spawn("pid", {}, result=int)).result(timeout=SOON)
    assert (await client.wait_for_execution(waiting, until=[Phase.SUSPENDED], timeout=SOON)).status.crashes == 0
    await client.resume_execution(waiting)
    assert await waiting.result(timeout=SOON) != first
    ended = await client.get(waiting.name)
    assert (ended.status.crashes, ended.status.attempt_count) == (0, 1)
    assert not (tmp_path / "wait.unwound").exists()


@pytest.mark.parametrize("function", ["give_up", "async_give_up"])
async def test_a_step_that_takes_too_long_costs_its_runner_and_nobody_else(client: Client, function: str) -> None:
    """Its thread ends with the runner, which is replaced; the function has gone on."""
    handle = await client.spawn(function, {}, result=tuple[bool, str, int])
    is_timeout, message, pid = await handle.result(timeout=SOON)
    assert is_timeout
    assert message.startswith("step 'hang' took longer than 100ms")
    assert (await client.get(handle.name)).status.crashes == 0
    async with asyncio.timeout(SOON.total_seconds()):
        while psutil.pid_exists(pid):
            await asyncio.sleep(0.05)


async def test_code_has_the_time_to_clean_up_that_the_worker_is_told(client: Client, tmp_path: Path) -> None:
    """More than the five seconds that it has otherwise."""
    file = tmp_path / "work"
    handle = await client.spawn("clean_up", {"file": str(file)})
    async with asyncio.timeout(SOON.total_seconds()):
        while not file.exists():
            await asyncio.sleep(0.02)
    await client.cancel(handle)
    assert (await stopped(client, handle.name)).phase is Phase.CANCELED
    assert (tmp_path / "work.clean").exists()
