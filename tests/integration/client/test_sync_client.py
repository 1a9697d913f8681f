"""The synchronous client against an API server; threads of the test call it, as code without a loop does."""

import asyncio
import threading
from datetime import timedelta

import pytest

from kontinue import errors
from kontinue.api.v1alpha1 import Phase
from kontinue.client import ClientOptions, SpawnOptions, SyncClient
from kontinue.kube import requests
from kontinue.kube.requests import EXECUTIONS
from played_worker import PlayedWorker, build


@pytest.fixture
async def worker(api_server):
    """Somebody who writes statuses, over a transport of their own."""
    transport = api_server.transport("worker")
    subject = PlayedWorker(transport, api_server.namespace)
    await subject.register()
    yield subject
    await transport.close()


@pytest.fixture
async def client(api_server):
    """A client without throttling."""
    subject = SyncClient(ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None))
    yield subject
    await asyncio.to_thread(subject.close)


async def test_the_result_of_a_definition_is_read_by_the_thread_that_waits(client, worker):
    """Spawned by definition, waited for by several threads, in one watch."""
    handles = [await asyncio.to_thread(client.spawn, build, "amd64") for _ in range(3)]
    waiting = [asyncio.create_task(asyncio.to_thread(handle.result)) for handle in handles]
    for handle in handles:
        await worker.write(handle.name, Phase.COMPLETED, result=[handle.name])
    assert await asyncio.gather(*waiting) == [[handle.name] for handle in handles]
    ended = await asyncio.to_thread(handles[0].wait)
    assert ended.metadata.uid == handles[0].uid


async def test_a_spawn_by_name_is_checked_against_the_schema(client, worker):
    """The same errors as those of the asynchronous client, with the same attributes."""
    spawn = client.with_timeout(timedelta(minutes=1)).spawn
    handle = await asyncio.to_thread(spawn, "build", {"target": "a"}, options=SpawnOptions(name="mine"))
    assert (handle.name, repr(handle)) == ("mine", f"<SyncExecutionHandle {client.namespace}/mine>")
    with pytest.raises(errors.InvalidArguments) as caught:
        await asyncio.to_thread(spawn, "build", {"target": "a", "opt": "two"})
    assert caught.value.path == "$.opt"
    with pytest.raises(TypeError, match=r"@app\.function"):
        await asyncio.to_thread(spawn, print, 1)


async def test_executions_are_read_acted_on_and_followed(client, worker):
    """Reading, ending and retrying by handle, object and name; a tree that is watched ends when it is told to."""
    handle = await asyncio.to_thread(client.spawn, build, "top")
    top = await asyncio.to_thread(client.get, handle.name)
    await worker.create_child(top, f"{handle.name}-0", "0")
    await asyncio.to_thread(client.cancel, f"{handle.name}-0", message="not needed")

    def read() -> tuple[list[str], ...]:
        children = client.get_child_executions(handle)
        listed = client.with_namespace(client.namespace).list(only_root=True)
        one_by_one = [execution.metadata.name for execution in client.iterate(phases=[Phase.CANCELED])]
        (function,) = client.functions()
        assert client.function("build") == function
        return [child.metadata.name for child in children], [one.metadata.name for one in listed], one_by_one

    assert await asyncio.to_thread(read) == ([f"{handle.name}-0"], [handle.name], [f"{handle.name}-0"])

    seen: list[list[str]] = []

    def follow() -> None:
        with client.watch_tree(handle) as watcher:
            for tree in watcher:
                seen.append([node.phase for _, node in tree.root.walk()])
                if len(seen) == 1:
                    client.skip(handle, result=["amd64"])
                if seen[-1] == ["Skipped", "Canceled"]:
                    watcher.stop()

    await asyncio.to_thread(follow)
    assert seen[0] == ["Pending", "Canceled"]
    assert (await asyncio.to_thread(client.get_tree, handle)).root.phase == "Skipped"
    assert await asyncio.to_thread(handle.result) == ["amd64"]


async def test_waits_end_in_time(client, worker):
    """The Execution goes on."""
    handle = await asyncio.to_thread(client.spawn, build, "slow")
    with pytest.raises(errors.WaitTimeout, match=r"did not end within 0\.05 s; it goes on"):
        await asyncio.to_thread(handle.result, timeout=timedelta(seconds=0.05))
    assert (await asyncio.to_thread(client.get_execution, handle.name)).phase is Phase.PENDING


async def test_closing_ends_waits_of_other_threads(api_server, worker):
    """They raise; later calls say that it is closed; closing twice, or a view, does nothing."""
    client = SyncClient(ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None))
    with client:
        handle = await asyncio.to_thread(client.spawn, build, "x")
        waiting = asyncio.create_task(asyncio.to_thread(client.wait_for_execution, handle, until=[Phase.EXECUTING]))
        watching = asyncio.create_task(asyncio.to_thread(handle.wait))
        await asyncio.to_thread(client.with_namespace("other").close)
        assert (await asyncio.to_thread(client.get, handle.name)).phase is Phase.PENDING
        await asyncio.to_thread(client.close)
    for task in (waiting, watching):
        with pytest.raises(errors.InvalidState, match="closed"):
            await task
    with pytest.raises(errors.InvalidState, match="this client is closed"):
        client.get("x")
    assert not [thread for thread in threading.enumerate() if thread.name == "kontinue client"]


async def test_requests_that_the_client_has_no_method_for(client, worker):
    """Sent over its connections; lines of a watch come one by one."""
    handle = await asyncio.to_thread(client.spawn, build, "x")
    read = requests.get(EXECUTIONS, client.namespace, handle.name)
    assert handle.uid.encode() in await asyncio.to_thread(client.kube.send, read)
    watch = requests.watch(EXECUTIONS, client.namespace, resource_version="0")

    def first_line() -> bytes:
        lines = client.kube.stream(watch)
        return next(iter(lines))

    assert handle.uid.encode() in await asyncio.to_thread(first_line)
