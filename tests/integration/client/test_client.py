"""The client against an API server, in both colours; the test plays the worker."""

import asyncio
import contextlib
from datetime import timedelta

import msgspec
import pytest

from colours import COLOURS, client_of
from kontinue import App, RetryPolicy, errors
from kontinue.api.v1alpha1 import (
    MAX_RESULT_BYTES,
    ExecutionAttempt,
    ExecutionError,
    Phase,
)
from kontinue.client import ChildPolicy, Client, ClientOptions, ExecutionHandle, NodeKind, SpawnOptions, parse_result
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import EXECUTIONS, FUNCTIONS
from played_worker import PlayedWorker, build


class CountingTransport(KubeTransport):
    """Keeps the requests sent and watches opened."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.sent = []
        self.watched = []

    async def send(self, request, **options):
        self.sent.append(request)
        return await super().send(request, **options)

    def stream(self, request, **options):
        self.watched.append(request)
        return super().stream(request, **options)


@pytest.fixture
async def kube(api_server):
    """A transport that counts."""
    transport = CountingTransport(api_server.config, user_agent="tests")
    yield transport
    await transport.close()


@pytest.fixture
async def worker(api_server):
    """Somebody who writes statuses, over a transport of their own."""
    transport = api_server.transport("worker")
    subject = PlayedWorker(transport, api_server.namespace)
    await subject.register()
    yield subject
    await transport.close()


@pytest.fixture
async def counted(kube, api_server):
    """A client without throttling, whose requests are counted."""
    async with Client.from_kube(kube, api_server.namespace) as subject:
        yield subject


@pytest.fixture(params=COLOURS)
async def client(request, api_server):
    """A client without throttling."""
    async with client_of(request.param, ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)) as subject:
        yield subject


async def test_a_spawn_is_one_write_and_one_request(counted, kube, worker, api_server):
    """The Function is read once; every spawn after is a single POST, by the server's own count too."""
    await counted.spawn(build, "amd64")
    before = await api_server.writes()
    kube.sent.clear()
    for _ in range(10):
        await counted.spawn(build, "amd64", opt=3)
    assert [request.method for request in kube.sent] == ["POST"] * 10
    assert await api_server.writes() - before == 10


async def test_the_result_of_a_definition_is_typed(client, worker):
    """Spawned by definition, read through its codec."""
    handle = await client.spawn(build, "amd64")
    waiting = asyncio.ensure_future(handle.result())
    await worker.write(handle.name, Phase.EXECUTING)
    await worker.write(handle.name, Phase.COMPLETED, result=["amd64"])
    assert await waiting == ["amd64"]
    execution = await client.get(handle.name)
    assert parse_result(execution, list[str]) == ["amd64"]
    assert msgspec.json.decode(execution.spec.arguments) == {"target": "amd64"}


async def test_a_spawn_by_name_is_checked_against_the_schema(client, worker):
    """Nothing is created when the arguments do not fit."""
    handle = await client.spawn("build", {"target": "amd64"}, result=list[str], options=SpawnOptions(name="mine"))
    assert handle.name == "mine"
    with pytest.raises(errors.InvalidArguments, match="unknown targte"):
        await client.spawn("build", {"targte": "amd64"})
    with pytest.raises(errors.InvalidArguments) as caught:
        await client.spawn("build", {"target": "amd64", "opt": "two"})
    assert caught.value.path == "$.opt"
    with pytest.raises(errors.UnknownFunction, match="Did you mean 'build'"):
        await client.spawn("bulid", {})
    assert [one.metadata.name for one in await client.list()] == ["mine"]


async def test_a_function_that_was_registered_anew_is_called_as_it_is_now(client, worker):
    """Whatever the client remembers of it: arguments that fit only the new one are none that do not fit."""
    await client.spawn("build", {"target": "x"})
    with pytest.raises(errors.InvalidArguments, match="unknown size"):
        await client.spawn("build", {"target": "x", "size": 3})
    await client.kube.send(requests.delete(FUNCTIONS, client.namespace, "build"))
    await worker.register(App(group="releases").function(name="build")(lambda target, size: [target] * size))
    await client.spawn("build", {"target": "x", "size": 3})
    assert len(await client.list()) == 2


async def test_spawn_refuses_a_plain_function(client):
    """The remedy is named."""
    with pytest.raises(TypeError, match=r"@app\.function"):
        await client.spawn(print, 1)


async def test_attach_waits_for_the_one_that_exists(client, worker):
    """Two spawns of one name are one Execution."""
    options = SpawnOptions(name="once", if_exists="attach")
    first = await client.spawn("build", {"target": "a"}, options=options)
    second = await client.spawn("build", {"target": "a"}, options=options)
    assert first.uid == second.uid
    await worker.write("once", Phase.COMPLETED, result=[])
    assert await second.result() == []
    with pytest.raises(errors.AlreadyExists, match="if_exists='attach'"):
        await client.spawn("build", {"target": "a"}, options=SpawnOptions(name="once"))


async def test_hundreds_of_waits_share_one_watch_and_read_almost_nothing(counted, kube, worker, monkeypatch):
    """Those spawned after the watch began cost no read at all."""
    monkeypatch.setattr("kontinue.client.ended_watch.LINGER_S", 600.0)
    first = await counted.spawn(build, "first")
    waiting = asyncio.ensure_future(first.result())
    await worker.write(first.name, Phase.COMPLETED, result=[])
    await waiting
    handles = [await counted.spawn(build, str(i)) for i in range(300)]
    kube.sent.clear()
    results = asyncio.gather(*(handle.result() for handle in handles))
    for handle in handles:
        await worker.write(handle.name, Phase.COMPLETED, result=[handle.name])
    assert await results == [[handle.name] for handle in handles]
    assert await asyncio.gather(*(handle.result() for handle in handles)) == await results
    assert kube.sent == []
    assert len(kube.watched) == 1


async def test_how_an_execution_ended_is_an_error_of_its_own(client, worker):
    """Failed with type and traceback of the last attempt, canceled, blocked."""
    failed, canceled, blocked = [await client.spawn(build, name) for name in ("f", "c", "b")]
    error = ExecutionError(type="app.Broken", message="boom", traceback="Traceback")
    await worker.write(failed.name, Phase.FAILED, attempts=[ExecutionAttempt(number=1, error=error)])
    await client.cancel(canceled, message="not needed")
    await worker.write(blocked.name, Phase.BLOCKED, message="step 1 changed")
    with pytest.raises(errors.ExecutionFailed, match="boom") as caught:
        await failed.result()
    assert (caught.value.type, caught.value.traceback) == ("app.Broken", "Traceback")
    with pytest.raises(errors.ExecutionCanceled, match="not needed"):
        await canceled.result()
    with pytest.raises(errors.ExecutionBlocked, match="step 1 changed"):
        await blocked.wait()
    assert (await client.wait_for_execution(blocked, until=["Blocked"])).phase is Phase.BLOCKED
    assert (await failed.wait()).phase is Phase.FAILED


async def test_waits_end_in_time(client, worker):
    """By their own timeout or by the client's; the Execution goes on."""
    handle = await client.spawn(build, "slow")
    with pytest.raises(errors.WaitTimeout, match=r"did not end within 0\.05 s; it goes on"):
        await handle.result(timeout=timedelta(seconds=0.05))
    with pytest.raises(TimeoutError):
        await client.with_timeout(timedelta(seconds=0.05)).wait_for_execution(handle.name)
    assert (await client.get(handle.name)).phase is Phase.PENDING


async def test_a_wait_for_a_phase_on_the_way(client, worker):
    """It watches that Execution alone; ending before is an error."""
    handle = await client.spawn(build, "x")
    waiting = asyncio.ensure_future(client.wait_for_execution(handle, until=[Phase.EXECUTING]))
    await worker.write(handle.name, Phase.EXECUTING)
    assert (await waiting).phase is Phase.EXECUTING
    await worker.write(handle.name, Phase.COMPLETED, result=[])
    with pytest.raises(errors.InvalidState, match="is Completed and will not become Suspended"):
        await client.wait_for_execution(handle, until=["Suspended"])


@pytest.mark.parametrize("until", [[Phase.EXECUTING], None], ids=["a phase on the way", "the end"])
async def test_a_wait_ends_when_its_client_is_closed(api_server, client, worker, until):
    """Nobody will answer it any more, however long it waits."""
    handle = await client.spawn(build, "x")
    other = Client(ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None))
    wait = asyncio.ensure_future(other.wait_for_execution(handle.name, until=until))
    await asyncio.sleep(0.5)
    await other.close()
    with pytest.raises(errors.InvalidState, match="the client was closed during a wait"):
        await wait
    with pytest.raises(errors.InvalidState, match="the client was closed during a wait"):
        await other.wait_for_execution(handle.name, until=until)


async def test_a_wait_for_nothing_says_so(client, worker):
    """Unknown and deleted Executions end a wait."""
    with pytest.raises(errors.NotFound, match=f"no Execution 'none' in namespace '{client.namespace}'"):
        await client.wait_for_execution("none")
    handle = await client.spawn(build, "x")
    waiting = asyncio.ensure_future(client.wait_for_execution(handle, until=["Executing"]))
    await asyncio.sleep(0.05)
    await client.kube.send(requests.delete(EXECUTIONS, client.namespace, handle.name))
    with pytest.raises(errors.NotFound):
        await waiting


async def test_waits_survive_a_compacted_history(client, worker, local_server):
    """After 410 everything waited for is read again."""
    handle = await client.spawn(build, "x")
    waiting = asyncio.ensure_future(handle.result())
    await asyncio.sleep(0.05)
    await worker.write(handle.name, Phase.COMPLETED, result=["done"])
    await local_server.server.compact()
    assert await waiting == ["done"]


async def test_cancel_works_beside_a_busy_writer(client, worker):
    """The patch tests the phase only; a running Execution is canceled however often its status is written."""
    handle = await client.spawn(build, "x")
    await worker.write(handle.name, Phase.EXECUTING)

    async def write_on():
        i = 0
        with contextlib.suppress(errors.Conflict, errors.Invalid):  # as soon as it is canceled
            while True:
                i += 1
                await worker.write(handle.name, Phase.EXECUTING, resumptions=i)

    writing = asyncio.ensure_future(write_on())
    await asyncio.sleep(0.02)
    await client.cancel(handle)
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    assert (await client.get(handle.name)).phase is Phase.CANCELED


async def test_skip_gives_whoever_waits_the_result(client, worker):
    """Before anybody has written a status, and beside a worker that has; with its type."""
    for phase in (None, Phase.EXECUTING, Phase.SUSPENDED, Phase.BACKOFF, Phase.BLOCKED):
        handle = await client.spawn(build, "x")
        if phase is not None:
            await worker.write(handle.name, phase)
        await client.skip(handle, result=["amd64"], message="built by hand")
        assert await handle.result() == ["amd64"]
        skipped = await client.get(handle.name)
        assert (skipped.phase, skipped.status.reason, skipped.status.message) == (
            Phase.SKIPPED,
            "SkippedByClient",
            "built by hand",
        )


async def test_skip_refuses_what_the_function_does_not_return(client, worker):
    """With the path of what is wrong; the Execution goes on."""
    handle = await client.spawn(build, "x")
    with pytest.raises(errors.InvalidResult, match="result for build") as wrong:
        await client.skip(handle, result=["x", 5])
    assert wrong.value.path == "$[1]"
    with pytest.raises(errors.InvalidResult, match=r"build does not return null.*give a result"):
        await client.skip(handle)
    with pytest.raises(errors.InvalidResult, match="the limit is"):
        await client.skip(handle, result="x" * MAX_RESULT_BYTES)
    with pytest.raises(errors.InvalidResult):
        await client.skip(handle, result=object())
    assert (await client.get(handle.name)).phase is Phase.PENDING


async def test_skip_of_a_function_that_nobody_has_is_not_checked(client, worker):
    """It waits for its worker for ever: to skip it is what is left."""
    function = requests.delete(FUNCTIONS, client.namespace, "build")
    handle = await client.spawn(build, "x")
    await client.kube.send(function)
    await client.with_namespace(client.namespace).skip(handle, result=[])
    assert (await client.get(handle.name)).phase is Phase.SKIPPED


async def test_skip_of_an_ended_execution_names_its_phase(client, worker):
    """Nothing that has ended is ended otherwise."""
    handle = await client.spawn(build, "x")
    await worker.write(handle.name, Phase.FAILED)
    with pytest.raises(errors.InvalidState, match="cannot be skipped: it is Failed already"):
        await client.skip(handle, result=[])


async def test_cancel_of_an_ended_execution_names_its_phase(client, worker):
    """Completed stays completed."""
    handle = await client.spawn(build, "x")
    await worker.write(handle.name, Phase.COMPLETED, result=[])
    with pytest.raises(errors.InvalidState, match="it is Completed already"):
        await client.cancel(handle)
    with pytest.raises(errors.NotFound):
        await client.cancel("none")


async def test_a_retry_is_asked_for_in_the_spec_and_waits_wait_for_the_new_end(client, worker):
    """One more than was seen; until the worker has taken it up, the old end is none."""
    handle = await client.spawn(build, "x")
    await worker.write(handle.name, Phase.FAILED, reason="UserError")
    with pytest.raises(errors.ExecutionFailed):
        await handle.result()
    await client.retry_execution(handle)
    asked = await client.get(handle.name)
    assert asked.is_retry_requested
    assert (asked.spec.retry.retries, asked.spec.retry.child_policy) == (1, ChildPolicy.RETRY_FAILED)
    waiting = asyncio.ensure_future(handle.result())
    with pytest.raises(errors.InvalidState, match="asked for already"):
        await client.retry_execution(handle)
    await worker.write(handle.name, Phase.PENDING, observed_retries=1)
    await worker.write(handle.name, Phase.COMPLETED, result=["again"])
    assert await waiting == ["again"]


async def test_only_what_ended_badly_can_be_retried(client, worker):
    """The error names the phase, and for what is blocked the way out."""
    handle = await client.spawn(build, "x")
    with pytest.raises(errors.InvalidState, match="it is Pending, not Failed or Canceled"):
        await client.retry_execution(handle.name)
    await worker.write(handle.name, Phase.BLOCKED)
    with pytest.raises(
        errors.InvalidState, match=r"it is Blocked.*RetryAll runs everything anew; or cancel it first .*--children all"
    ):
        await client.retry_execution(handle)
    with pytest.raises(errors.NotFound):
        await client.retry_execution("none")


async def test_a_child_is_not_retried_while_its_parent_lives(client, worker):
    """Nothing is written; the error names the parent."""
    parent = await client.spawn(build, "x")
    await worker.create_child(await client.get(parent.name), "child", "1")
    await worker.write("child", Phase.FAILED)
    with pytest.raises(errors.InvalidState, match=f"its parent {parent.name} is Pending"):
        await client.retry_execution("child")
    await worker.write(parent.name, Phase.FAILED)
    await client.retry_execution(await client.get("child"))
    assert (await client.get("child")).is_retry_requested


async def test_children_that_will_fail_again_are_named(client, worker, caplog):
    """The policy None takes them as they ended: the client warns."""
    parent = await client.spawn(build, "x")
    await worker.create_child(await client.get(parent.name), "child", "1")
    await worker.write("child", Phase.FAILED)
    await worker.write(parent.name, Phase.FAILED)
    await client.retry_execution(parent, child_policy=ChildPolicy.NONE)
    assert "fails again where it asks for child" in caplog.text


async def test_a_cancel_leaves_no_retry_asked_for(client, worker):
    """Retries that were left are not a wish of now, whether or not somebody had written a status."""
    options = SpawnOptions(retry=RetryPolicy(retries=3))
    for has_begun in (False, True):
        handle = await client.spawn("build", {"target": "x"}, options=options)
        if has_begun:
            await worker.write(handle.name, Phase.EXECUTING)
        await client.cancel(handle)
        canceled = await client.get(handle.name)
        assert (canceled.status.observed_retries, canceled.is_retry_requested) == (3, False)


async def test_lists_are_filtered_by_the_server_and_paged(client, worker, monkeypatch):
    """By phase, function, root and labels; page after page."""
    monkeypatch.setattr("kontinue.client.client.PAGE_SIZE", 2)
    handles = [await client.spawn(build, str(i)) for i in range(5)]
    await worker.write(handles[0].name, Phase.COMPLETED, result=[])
    await worker.write(handles[1].name, Phase.EXECUTING)
    await worker.create_child(await client.get(handles[2].name), "child", "1")
    assert len(await client.list()) == 6
    assert len(await client.list(only_root=True)) == 5
    assert [e.metadata.name for e in await client.list(root=handles[2].name)] == ["child"]
    assert {e.metadata.name for e in await client.list(phases=["Completed", "Executing"])} == {
        handles[0].name,
        handles[1].name,
    }
    assert len(await client.list(phases=["Pending"])) == 4
    assert await client.list(function="other") == []
    assert len(await client.list(worker_group="releases")) == 5


async def test_functions_are_listed_without_hidden_ones(client, worker):
    """Unless asked for."""
    hidden = App(group="releases").function(name="secret")(build.fn)
    await worker.register(hidden, hidden=True)
    assert [item.spec.name for item in await client.functions()] == ["build"]
    assert [item.spec.name for item in await client.functions(include_hidden=True)] == ["build", "secret"]
    assert (await client.function("build")).spec.worker_group == "releases"


async def test_a_tree_shows_children_and_follows_them(client, worker):
    """Children in call order; a watcher gives the newest state, and ends with the Execution."""
    root = await client.spawn(build, "root")
    await worker.create_child(await client.get(root.name), "child-b", "10")
    await worker.create_child(await client.get(root.name), "child-a", "2")
    await worker.create_child(await client.get("child-a"), "grandchild", "1")
    tree = await client.get_tree(root)
    assert [(depth, node.name) for depth, node in tree.walk()] == [
        (0, root.name),
        (1, "child-a"),
        (2, "grandchild"),
        (1, "child-b"),
    ]
    assert [e.metadata.name for e in await client.get_child_executions(root)] == ["child-a", "child-b"]
    assert tree.root.kind is NodeKind.EXECUTION
    async with asyncio.timeout(60), client.watch_tree(root) as watcher:
        seen = []
        async for tree in watcher:
            phases = {node.name: node.phase for _, node in tree.walk()}
            seen.append((phases[root.name], phases.get("grandchild")))
            if len(seen) == 1:
                await worker.write("grandchild", Phase.FAILED, message="boom")
                await worker.write(root.name, Phase.COMPLETED, result=[])
                await client.kube.send(requests.delete(EXECUTIONS, client.namespace, "child-b"))
            elif seen[-1] == ("Completed", "Failed") and "child-b" not in phases:
                break
        assert seen[0] == ("Pending", "Pending")
        assert (await anext(aiter(watcher))).root.phase == "Completed"
        await client.kube.send(requests.delete(EXECUTIONS, client.namespace, root.name))
        assert [tree.root.phase async for tree in watcher][-1:] in ([], ["Completed"])
    assert watcher.last_error is None


async def test_a_tree_of_nothing_is_an_error(client):
    """Also when it is to be watched."""
    with pytest.raises(errors.NotFound):
        await client.get_tree("none")
    with pytest.raises(errors.NotFound):
        async with client.watch_tree("none"):
            pass


async def test_a_client_finds_its_server_by_kubeconfig(api_server, worker):
    """As scripts use it: options, context manager, throttling on."""
    async with Client(ClientOptions(kubeconfig=str(api_server.kubeconfig))) as subject:
        handle = await subject.spawn(build, "x")
        assert isinstance(handle, ExecutionHandle)
        assert (await subject.with_namespace("kube-system").list()) == []
