"""Each error that a client raises, provoked: it names the object and what to do. docs/errors.md lists them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api_server import ApiServer, kubeconfig_for
from colours import COLOURS, client_of
from kontinue import errors
from kontinue.api.v1alpha1 import ExecutionAttempt, ExecutionError, Phase
from kontinue.client import Client, ClientOptions, SpawnOptions
from kontinue.kube import requests
from kontinue.kube.requests import EXECUTIONS
from played_worker import PlayedWorker, build
from ports import free_port

SOON = timedelta(seconds=30)


@pytest.fixture
async def worker(api_server: ApiServer) -> AsyncIterator[PlayedWorker]:
    """Somebody who writes statuses, over a transport of their own."""
    transport = api_server.transport("worker")
    subject = PlayedWorker(transport, api_server.namespace)
    await subject.register()
    yield subject
    await transport.close()


@pytest.fixture(params=COLOURS)
async def client(request: pytest.FixtureRequest, api_server: ApiServer, worker: PlayedWorker) -> AsyncIterator[Any]:
    """A client without throttling, beside a worker."""
    options = ClientOptions(kubeconfig=str(api_server.kubeconfig), qps=None)
    async with client_of(request.param, options) as subject:
        yield subject


def test_a_server_that_is_nowhere_is_a_config_error(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(errors.ConfigError, match=r"no such file: .*absent"):
        Client(ClientOptions(kubeconfig=str(tmp_path / "absent")))


async def test_a_function_that_nobody_has_is_unknown(client: Any) -> None:
    """With the nearest name, and the groups seen."""
    with pytest.raises(errors.UnknownFunction) as caught:
        await client.spawn("bulid", {"target": "x"})
    assert (caught.value.function, caught.value.suggestion) == ("bulid", "build")
    assert re.search(r"no function 'bulid' in namespace .*Did you mean 'build'\? .*releases \(1\)", str(caught.value))
    assert str(caught.value).endswith("If you have just written it: `kontinue dev` takes seconds to load an edit.")


async def test_arguments_that_do_not_fit_are_invalid(client: Any) -> None:
    """By name against the schema, by definition against the types; nothing is created."""
    with pytest.raises(errors.InvalidArguments, match=r"build: \$\.opt: expected integer, got 'two'") as caught:
        await client.spawn("build", {"target": "x", "opt": "two"})
    assert caught.value.path == "$.opt"
    with pytest.raises(errors.InvalidArguments, match="missing target"):
        await client.spawn("build", {})
    with pytest.raises(errors.InvalidArguments, match=r"unknown targte \(did you mean target\?\)"):
        await client.spawn("build", {"target": "x", "targte": "y"})
    with pytest.raises(errors.InvalidArguments, match=r"build: \$\.opt: Expected int, got str"):
        await client.spawn(build, "x", opt="two")
    assert await client.list() == []


async def test_a_name_that_is_taken_exists_already(client: Any, worker: PlayedWorker) -> None:
    """Also for whoever would attach, but asks for something else."""
    once = SpawnOptions(name="once", if_exists="attach")
    await client.spawn("build", {"target": "x"}, options=once)
    with pytest.raises(errors.AlreadyExists, match=r"Execution .*/once exists already \(function 'build', phase Pend"):
        await client.spawn("build", {"target": "x"}, options=SpawnOptions(name="once"))
    with pytest.raises(errors.AlreadyExists, match=r"/once cannot be attached to: .* differ at \$\.target"):
        await client.spawn("build", {"target": "y"}, options=once)
    with pytest.raises(errors.AlreadyExists, match="choose another name"):
        await client.spawn(build.options(name="once"), "x")
    await worker.write("once", Phase.COMPLETED, result=["x"])
    attached = await client.spawn("build", {"target": "x"}, options=once, result=list[str])
    assert await attached.result(timeout=SOON) == ["x"]


async def test_what_is_not_there_is_not_found(client: Any) -> None:
    """Name and namespace are told; of Suspensions and schedules, too."""
    where = f"'absent' in namespace '{client.namespace}'"
    for method, kind in (
        (client.get, "Execution"),
        (client.cancel, "Execution"),
        (client.wait_for_execution, "Execution"),
        (client.get_suspension, "Suspension"),
        (client.get_scheduled_execution, "ScheduledExecution"),
    ):
        with pytest.raises(errors.NotFound, match=f"no {kind} {where}"):
            await method("absent")


async def test_what_the_phase_does_not_allow_is_an_invalid_state(client: Any, worker: PlayedWorker) -> None:
    """Which it is, and what would help."""
    handle = await client.spawn(build, "x")
    with pytest.raises(errors.InvalidState, match="cannot be retried: it is Pending"):
        await client.retry_execution(handle)
    await worker.write(handle.name, Phase.COMPLETED, result=[])
    with pytest.raises(errors.InvalidState, match="cannot be canceled: it is Completed already"):
        await client.cancel(handle)


async def test_what_is_said_to_a_suspension_may_be_an_invalid_payload(client: Any, worker: PlayedWorker) -> None:
    """It still waits, and can be resumed with something that fits, once."""
    handle = await client.spawn(build, "x")
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    await worker.suspend(await client.get(handle.name), "ask", "1", payload_schema=schema)
    with pytest.raises(errors.InvalidPayload, match=r"Suspension ask: \$\.ok: expected boolean, got 5") as caught:
        await client.resume_suspension("ask", {"ok": 5})
    assert caught.value.path == "$.ok"
    assert (await client.get_suspension("ask")).is_open
    (resumed,) = await client.resume_execution(handle, payload={"ok": True})
    assert resumed.metadata.name == "ask"
    with pytest.raises(errors.InvalidState, match=r"Suspension .*/ask is completed already by Client"):
        await client.resume_suspension("ask", {"ok": True})
    with pytest.raises(errors.InvalidState, match=r"what it has started may: recursive=True \(`kontinue resume -r`\)"):
        await client.resume_execution(handle)


async def test_what_a_function_does_not_return_is_an_invalid_result(client: Any) -> None:
    """Of a skip: nothing was changed."""
    handle = await client.spawn(build, "x")
    with pytest.raises(errors.InvalidResult, match=r"result for build: \$: expected array, got 'x'"):
        await client.skip(handle, result="x")
    assert (await client.get(handle.name)).phase is Phase.PENDING


async def test_how_an_execution_ended_is_an_error(client: Any, worker: PlayedWorker) -> None:
    """Failed with type and traceback, canceled with its message, blocked with what to do."""
    failed, canceled, blocked = [await client.spawn(build, "x") for _ in range(3)]
    error = ExecutionError(type="shop.OutOfStock", message="no more", traceback="Traceback ...")
    await worker.write(failed.name, Phase.FAILED, attempts=[ExecutionAttempt(number=1, error=error)])
    await client.cancel(canceled, message="changed my mind")
    await worker.write(blocked.name, Phase.BLOCKED, message="step 1 is another one")
    with pytest.raises(errors.ExecutionFailed, match=r"of function 'build' failed: shop\.OutOfStock: no more") as told:
        await failed.result(timeout=SOON)
    assert (told.value.execution, told.value.type, told.value.traceback) == (failed.name, error.type, error.traceback)
    with pytest.raises(errors.ExecutionCanceled, match="was canceled: changed my mind"):
        await canceled.result(timeout=SOON)
    with pytest.raises(errors.ExecutionBlocked, match=r"is blocked: step 1 .*\nDeploy code that matches"):
        await blocked.result(timeout=SOON)


async def test_a_result_of_another_type_is_not_decoded(client: Any, worker: PlayedWorker) -> None:
    """Which Execution, and where in the result."""
    handle = await client.spawn("build", {"target": "x"}, result=list[int])
    await worker.write(handle.name, Phase.COMPLETED, result=[1, "two"])
    with pytest.raises(errors.ResultDecodeError, match=rf"{handle.name}.*Expected int, got str") as caught:
        await handle.result(timeout=SOON)
    assert caught.value.path == "$[1]"


async def test_a_wait_that_takes_too_long_is_a_timeout(client: Any) -> None:
    """Of ours, and Python's; the Execution goes on."""
    handle = await client.spawn(build, "x")
    with pytest.raises(errors.WaitTimeout, match=r"did not end within 0\.01 s; it goes on") as caught:
        await handle.result(timeout=timedelta(seconds=0.01))
    assert isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize("colour", COLOURS)
async def test_a_server_that_does_not_answer_is_unavailable(colour: str, api_server: ApiServer, tmp_path: Path) -> None:
    """The error names the request and the address, when the time for tries is over."""
    port = free_port()
    kubeconfig = kubeconfig_for("shop", api_server.kubeconfig, tmp_path / "c", server=f"http://127.0.0.1:{port}")
    options = ClientOptions(kubeconfig=str(kubeconfig), qps=None, timeout=timedelta(seconds=0.3))
    async with client_of(colour, options) as client:
        with pytest.raises(errors.Unavailable, match=rf"executions/x: no answer .*:{port}|within the client's timeout"):
            await client.get("x")


@pytest.mark.parametrize("colour", COLOURS)
async def test_who_has_the_wrong_token_is_unauthorized(colour: str, api_server: ApiServer, tmp_path: Path) -> None:
    """With what to renew."""
    kubeconfig = tmp_path / "wrong"
    kubeconfig.write_text(api_server.kubeconfig.read_text().replace(api_server.token, "none-of-theirs"))
    kubeconfig.chmod(0o600)
    async with client_of(colour, ClientOptions(kubeconfig=str(kubeconfig), qps=None)) as client:
        with pytest.raises(errors.Unauthorized, match=r"does not accept these credentials\. Renew the token"):
            await client.list()


async def test_requests_of_ones_own_are_refused_as_the_server_says(client: Any) -> None:
    """A field that does not fit, a version that is not the last one, an object that is too large."""
    handle = await client.spawn(build, "x")
    found = json.loads(await client.kube.send(requests.get(EXECUTIONS, client.namespace, handle.name)))
    wrong = {**found, "spec": {**found["spec"], "function": 5}}
    with pytest.raises(errors.Invalid, match=r"spec\.function"):
        await client.kube.send(requests.replace(EXECUTIONS, client.namespace, handle.name, json.dumps(wrong).encode()))
    await client.cancel(handle)
    with pytest.raises(errors.Conflict, match="modified"):
        await client.kube.send(requests.replace(EXECUTIONS, client.namespace, handle.name, json.dumps(found).encode()))
    large = {**found, "metadata": {"name": "large"}, "spec": {**found["spec"], "arguments": {"x": "x" * 4_000_000}}}
    with pytest.raises(errors.TooLarge):
        await client.kube.send(requests.create(EXECUTIONS, client.namespace, json.dumps(large).encode()))
    assert [one.metadata.name for one in await client.list()] == [handle.name]


async def test_a_closed_client_says_so(client: Any) -> None:
    """In a wait that was under way."""
    handle = await client.spawn(build, "x")
    waiting = asyncio.ensure_future(handle.wait())
    while not waiting.done():
        await asyncio.sleep(0.05)
        await client.close()
    with pytest.raises(errors.InvalidState, match="closed"):
        await waiting
