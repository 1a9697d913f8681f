"""Executions without a group get one, or are told why not; a failure is tried again."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionSpec, ExecutionStatus, Phase
from kontinue.kube.requests import Request
from kontinue_engine.controllers.adoption import Adopter
from scripted_transport import ScriptedTransport
from virtual_time import virtual_time


class Server:
    """Accepts every write that ``failures`` does not refuse; knows the Functions in ``functions``."""

    def __init__(self, *failures: errors.ApiError, functions: tuple[str, ...] = ()) -> None:
        self.failures = list(failures)
        self.functions = functions
        self.writes: list[tuple[str, Any]] = []

    def __call__(self, request: Request) -> bytes:
        name = request.path.removesuffix("/status").rpartition("/")[2]
        if request.method != "GET":
            if self.failures:
                raise self.failures.pop(0)
            self.writes.append((request.method, msgspec.json.decode(request.body)))
        elif name not in self.functions:
            raise errors.NotFound("no such Function", status=404)
        return b'{"metadata":{"name":"x","resourceVersion":"8"},"spec":{"name":"f","workerGroup":"other"}}'


def execution(function: str = "mine", name: str = "x", version: str = "7", phase: Phase | None = None) -> Execution:
    return Execution(
        metadata=ObjectMeta(name=name, namespace="ns", uid=f"uid-{name}", resource_version=version),
        spec=ExecutionSpec(function=function),
        status=ExecutionStatus(phase=phase),
    )


async def adopt(server: Server, *executions: Execution, then: tuple[tuple[str, Execution], ...] = ()) -> None:
    """Show them as a list, then the changes, and let the adopter work for ten minutes."""
    transport = ScriptedTransport()
    transport.answer = server
    adopter = Adopter(transport, namespace="ns", group="g", owns={"mine"}.__contains__)
    adopter.on_list(executions, initial=True)
    for change, changed in then:
        adopter.on_event(change, changed)  # type: ignore[arg-type]
    running = asyncio.ensure_future(adopter.run())
    await asyncio.sleep(600)
    assert not running.done()
    running.cancel()


@virtual_time
async def test_what_this_app_has_is_adopted() -> None:
    """By labels, provided that it is still what was seen."""
    server = Server()
    await adopt(server, execution())
    wanted = {labels.WORKER_GROUP: "g", labels.FUNCTION: "mine"}
    assert server.writes == [("PATCH", {"metadata": {"resourceVersion": "7", "labels": wanted}})]


@virtual_time
@pytest.mark.parametrize("function", ["nobodys", "???"], ids=["a name", "what no object can be called"])
async def test_an_unknown_function_is_told(function: str) -> None:
    """Pending, and kubectl shows for what it waits."""
    server = Server()
    await adopt(server, execution(function))
    ((method, body),) = server.writes
    assert (method, body["status"]["phase"]) == ("PUT", "Pending")
    assert body["status"]["waitingFor"] == [
        {"kind": "Function", "name": function, "message": "no worker group owns it"}
    ]


@virtual_time
async def test_what_other_groups_have_or_has_ended_is_left_alone() -> None:
    """Its own group adopts it."""
    server = Server(functions=("theirs",))
    ended = execution(name="ended", phase=Phase.CANCELED)
    await adopt(
        server,
        execution("theirs"),
        ended,
        then=(("ADDED", execution(name="gone")), ("DELETED", execution(name="gone"))),
    )
    assert server.writes == []


@virtual_time
async def test_a_conflict_is_left_to_the_watch() -> None:
    """What changed is shown again, with its new version."""
    server = Server(errors.Conflict("changed", status=409))
    await adopt(server, execution())
    assert server.writes == []
    server = Server()
    await adopt(server, execution(), then=(("MODIFIED", execution(version="9")),))
    assert [body["metadata"]["resourceVersion"] for _, body in server.writes] == ["9"]


@virtual_time
async def test_a_failure_is_tried_again() -> None:
    """No list may come for minutes, and others must not wait for it."""
    failure = errors.Unavailable("webhook is down", status=500)
    server = Server(failure, failure, failure)
    await adopt(server, execution(), execution(name="y"))
    assert len(server.writes) == 2


@virtual_time
async def test_what_failed_and_is_gone_is_forgotten() -> None:
    """Nothing is tried for ever."""
    server = Server(*[errors.Forbidden("no", status=403)] * 1000)
    transport = ScriptedTransport()
    transport.answer = server
    adopter = Adopter(transport, namespace="ns", group="g", owns={"mine"}.__contains__)
    adopter.on_list([execution()], initial=True)
    running = asyncio.ensure_future(adopter.run())
    await asyncio.sleep(60)
    adopter.on_list([], initial=False)
    tried = len(transport.sent)
    await asyncio.sleep(600)
    assert 2 < tried == len(transport.sent)
    running.cancel()
