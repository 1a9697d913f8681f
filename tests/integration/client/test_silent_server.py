"""A server that takes everything and says nothing: each call of a client, of either colour, ends in its time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from colours import COLOURS, client_of
from kontinue import errors
from kontinue.client import Client, ClientOptions, SyncClient
from kontinue.sync import Holder, HolderKind, SyncWaitGroup, WaitGroup
from played_worker import build

LIMIT = timedelta(seconds=0.2)
GUARD_S = 20.0
"""What a test that has failed may take."""


async def follow(client: Any) -> None:
    """Watch a tree."""
    async with client.watch_tree("x") as watcher:
        _ = [tree async for tree in watcher]


async def read_log(client: Any) -> None:
    """Read the log of a Job."""
    async with client.get_job_logs("x") as chunks:
        _ = [chunk async for chunk in chunks]


async def read_all(client: Any) -> None:
    """Read page by page."""
    _ = [one async for one in client.iterate()]


CALLS: dict[str, Callable[[Any], Any]] = {
    "cancel": lambda client: client.cancel("x"),
    "function": lambda client: client.function("x"),
    "functions": lambda client: client.functions(),
    "get": lambda client: client.get("x"),
    "get_archive": lambda client: client.get_archive("x"),
    "get_child_executions": lambda client: client.get_child_executions("x"),
    "get_execution": lambda client: client.get_execution("x"),
    "get_job": lambda client: client.get_job("x"),
    "get_job_logs": read_log,
    "get_scheduled_execution": lambda client: client.get_scheduled_execution("x"),
    "get_suspension": lambda client: client.get_suspension("x"),
    "get_tree": lambda client: client.get_tree("x"),
    "iterate": read_all,
    "list": lambda client: client.list(),
    "list_scheduled_executions": lambda client: client.list_scheduled_executions(),
    "resume_execution": lambda client: client.resume_execution("x", recursive=True),
    "resume_scheduled_execution": lambda client: client.resume_scheduled_execution("x"),
    "resume_suspension": lambda client: client.resume_suspension("x", 5),
    "retry_execution": lambda client: client.retry_execution("x"),
    "skip": lambda client: client.skip("x"),
    "spawn": lambda client: client.spawn(build, "x"),
    "spawn by name": lambda client: client.spawn("build", {"target": "x"}),
    "suspend_scheduled_execution": lambda client: client.suspend_scheduled_execution("x"),
    "trigger_scheduled_execution": lambda client: client.trigger_scheduled_execution("x"),
    "wait_for_execution": lambda client: client.wait_for_execution("x"),
    "wait_for_execution until": lambda client: client.wait_for_execution("x", until=["Executing"]),
    "watch_tree": follow,
}
"""Method -> one call of it."""
WAIT_GROUP_CALLS: dict[str, Callable[[Any], Any]] = {
    "add": lambda group: group.add(),
    "add for a holder": lambda group: group.add(holder=Holder(kind=HolderKind.POD, name="x")),
    "create": lambda group: group.create(),
    "delete": lambda group: group.delete(),
    "done": lambda group: group.done(),
    "get": lambda group: group.get(),
    "status": lambda group: group.status(),
    "wait": lambda group: group.wait(),
    "wait that looks once": lambda group: group.wait(timeout=timedelta()),
}
"""The same of a WaitGroup."""
SEND_NOTHING = {"close", "from_kube", "with_namespace", "with_timeout"}


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    """Leads to the server."""
    writers: list[asyncio.StreamWriter] = []
    listening = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    file.chmod(0o600)
    yield file
    listening.close()
    for writer in writers:
        writer.transport.abort()


def test_every_method_is_called_here() -> None:
    """A new one has a limit, too."""
    methods = {name for name, _ in inspect.getmembers(Client, callable) if not name.startswith("_")}
    assert {name.partition(" ")[0] for name in CALLS} == methods - SEND_NOTHING

    operations = {name for name, _ in inspect.getmembers(WaitGroup, inspect.isfunction) if not name.startswith("_")}
    assert {name.partition(" ")[0] for name in WAIT_GROUP_CALLS} == operations


@pytest.mark.parametrize("colour", COLOURS)
async def test_no_call_outlasts_its_limit(colour: str, kubeconfig: Path) -> None:
    """It raises what says so."""
    options = ClientOptions(kubeconfig=str(kubeconfig), qps=None, timeout=LIMIT)
    async with client_of(colour, options) as client:

        async def call(name: str) -> None:
            with pytest.raises((errors.Unavailable, errors.WaitTimeout)):
                async with asyncio.timeout(GUARD_S):
                    await CALLS[name](client)

        await asyncio.gather(*map(call, CALLS))


async def test_no_call_of_a_wait_group_outlasts_the_limit_of_its_client(kubeconfig: Path) -> None:
    """Each has one of its own, so that none waits for the write of another."""
    async with Client(ClientOptions(kubeconfig=str(kubeconfig), qps=None, timeout=LIMIT)) as client:

        async def call(name: str) -> None:
            with pytest.raises((errors.Unavailable, errors.WaitTimeout)):
                async with asyncio.timeout(GUARD_S):
                    await WAIT_GROUP_CALLS[name](WaitGroup("x", client))

        await asyncio.gather(*map(call, WAIT_GROUP_CALLS))


async def test_no_call_of_a_synchronous_wait_group_outlasts_the_limit_of_its_client(kubeconfig: Path) -> None:
    """As the asynchronous one."""

    def call(name: str) -> None:
        with pytest.raises((errors.Unavailable, errors.WaitTimeout)):
            WAIT_GROUP_CALLS[name](SyncWaitGroup("x", client))

    with SyncClient(ClientOptions(kubeconfig=str(kubeconfig), qps=None, timeout=LIMIT)) as client:
        async with asyncio.timeout(GUARD_S):
            await asyncio.gather(*(asyncio.to_thread(call, name) for name in WAIT_GROUP_CALLS))
