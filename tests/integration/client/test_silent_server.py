"""A server that takes everything and says nothing: each call of a client, of either colour, ends in its time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from colours import COLOURS, client_of
from kontinue import errors
from kontinue.client import Client, ClientOptions, SyncClient
from played_worker import build
from primitive_calls import CALLS as PRIMITIVE_CALLS
from primitive_calls import KINDS, WAITS, subject
from silent_server import kubeconfig_of, silent_server, unreachable_port

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
SEND_NOTHING = {"close", "from_kube", "with_namespace", "with_timeout"}


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    """Leads to a server that takes connections."""
    async with silent_server() as port:
        yield kubeconfig_of(port, tmp_path)


@pytest.fixture
def black_hole(tmp_path: Path) -> Iterator[Path]:
    """Leads to where no connection is made, and none refused."""
    with unreachable_port() as port:
        yield kubeconfig_of(port, tmp_path)


def test_every_method_is_called_here() -> None:
    """A new one has a limit, too."""
    methods = {name for name, _ in inspect.getmembers(Client, callable) if not name.startswith("_")}
    assert {name.partition(" ")[0] for name in CALLS} == methods - SEND_NOTHING


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


@pytest.mark.parametrize("kind", KINDS)
async def test_no_call_of_a_primitive_outlasts_the_limit_of_its_client(kind: str, kubeconfig: Path) -> None:
    """Nothing of the object was seen, so no wait says that it is not so. Each call has an object of its own."""
    async with Client(ClientOptions(kubeconfig=str(kubeconfig), qps=None, timeout=LIMIT)) as client:

        async def call(name: str) -> None:
            with pytest.raises(errors.Unavailable):
                async with asyncio.timeout(GUARD_S):
                    await call_of(name, client)

        await asyncio.gather(*(call(name) for name in (*PRIMITIVE_CALLS, *WAITS) if name.startswith(f"{kind}.")))


@pytest.mark.parametrize("kind", KINDS)
async def test_no_call_of_a_synchronous_primitive_outlasts_the_limit_of_its_client(kind: str, kubeconfig: Path) -> None:
    """As of the asynchronous one."""

    def call(name: str) -> None:
        with pytest.raises(errors.Unavailable):
            call_of(name, client, prefix="Sync")

    with SyncClient(ClientOptions(kubeconfig=str(kubeconfig), qps=None, timeout=LIMIT)) as client:
        names = [name for name in (*PRIMITIVE_CALLS, *WAITS) if name.startswith(f"{kind}.")]
        async with asyncio.timeout(GUARD_S):
            await asyncio.gather(*(asyncio.to_thread(call, name) for name in names))


@pytest.mark.parametrize("prefix", ["", "Sync"], ids=["async", "sync"])
@pytest.mark.parametrize("kind", KINDS)
async def test_no_wait_for_a_primitive_outlasts_its_timeout_where_nobody_listens(
    kind: str, prefix: str, black_hole: Path
) -> None:
    """Connections are neither made nor refused. The client has no limit, the wait has one."""

    def call(name: str) -> Any:
        return WAITS[name](subject(name, client, prefix=prefix), LIMIT)

    async def refused(name: str) -> None:
        with pytest.raises(errors.Unavailable, match="has not answered within 200ms"):
            await (asyncio.to_thread(call, name) if prefix else call(name))

    client: Any = client_of("sync" if prefix else "async", ClientOptions(kubeconfig=str(black_hole), qps=None))
    async with asyncio.timeout(GUARD_S), client:
        client = client.subject if prefix else client
        await asyncio.gather(*(refused(name) for name in WAITS if name.startswith(f"{kind}.")))


def call_of(name: str, client: Any, *, prefix: str = "") -> Any:
    """Call a method of a primitive."""
    one = subject(name, client, prefix=prefix)
    return PRIMITIVE_CALLS[name](one) if name in PRIMITIVE_CALLS else WAITS[name](one, None)
