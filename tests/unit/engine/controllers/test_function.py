"""Registrations that fail, or that another group holds for a while."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from kontinue import errors
from kontinue.api.v1alpha1 import Function
from kontinue.kube.requests import Request
from kontinue_engine.clock import SystemClock
from kontinue_engine.controllers.function import LOST_LOOK_S, FunctionController, build_function
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.wire.frames import FunctionDescription
from scripted_transport import ScriptedTransport
from virtual_time import virtual_time

MINE = FunctionDescription(name="mine", is_async=False, takes_context=False)


class Server:
    """Stores one Function, and refuses as many writes as ``failures`` says."""

    def __init__(self, *failures: errors.ApiError, group: str = "") -> None:
        self.failures = list(failures)
        self.stored: Function | None = build_function(MINE, group=group) if group else None
        self.listed: list[Any] = []
        self.answer: Any = None  # to a GET, in place of what is stored
        self.replaced = False

    def __call__(self, request: Request) -> bytes:
        if request.path.endswith("/functions") and request.method == "GET":
            return msgspec.json.encode({"metadata": {"resourceVersion": "9"}, "items": self.listed})
        if request.method == "GET" and self.answer is not None:
            return msgspec.json.encode(self.answer)
        self.replaced |= request.method == "PUT"
        if request.method == "POST":
            if self.failures:
                raise self.failures.pop(0)
            self.stored = msgspec.json.decode(request.body, type=Function)
        if self.stored is None:
            raise errors.NotFound("no such Function", status=404)
        return msgspec.json.encode(self.stored)


def follow(server: Server) -> tuple[FunctionController, asyncio.Future[None]]:
    """Start a replica of group g that sees no Function of its group."""
    transport = ScriptedTransport()
    transport.answer = server
    events = EventRecorder(transport, component="test", instance="test", clock=SystemClock())
    controller = FunctionController(transport, events, namespace="ns", group="g", functions=[MINE])
    controller.on_list([], initial=True)
    return controller, asyncio.ensure_future(controller.run())


@virtual_time
async def test_a_registration_that_fails_is_tried_again() -> None:
    """Nobody can spawn it until then."""
    server = Server(*[errors.Forbidden("no", status=403)] * 5)
    _, running = follow(server)
    await asyncio.sleep(120)
    assert server.stored is not None
    assert not running.done()
    running.cancel()


NEWER = {"name": "mine", "workerGroup": "g", "defaults": {"retry": {"policy": "Clairvoyant"}}}


@virtual_time
async def test_what_a_newer_version_wrote_is_written_anew() -> None:
    """An older one was rolled back in: it registers what it knows."""
    server = Server(group="g")
    server.answer = {"metadata": {"name": "mine", "resourceVersion": "7"}, "spec": NEWER}
    controller, running = follow(server)
    await asyncio.sleep(60)
    assert not running.done()
    assert server.replaced
    assert not controller.is_lost("mine")
    running.cancel()


@virtual_time
@pytest.mark.parametrize("spec", [{"name": "mine", "workerGroup": 3}, "nonsense"])
async def test_one_that_does_not_say_whose_it_is_is_another_groups(spec: Any) -> None:
    """Nothing ends because of it, and a person decides what becomes of it."""
    server = Server(group="g")
    server.answer = {"metadata": {"name": "mine", "resourceVersion": "7"}, "spec": spec}
    controller, running = follow(server)
    await asyncio.sleep(60)
    assert not running.done()
    assert controller.is_lost("mine")
    running.cancel()


@virtual_time
async def test_what_other_groups_have_keeps_no_replica_from_starting() -> None:
    """A newer version of their workers wrote it, or a looser schema let it in."""
    server = Server()
    theirs = {"name": "theirs", "workerGroup": "other", "defaults": {"retry": {"policy": "Clairvoyant"}}}
    server.listed = [{"metadata": {"name": "theirs"}, "spec": theirs}, {"metadata": {"name": "x"}, "spec": 3}]
    controller, running = follow(server)
    running.cancel()
    await controller.register()
    assert server.stored is not None


@virtual_time
async def test_what_another_group_lets_go_is_registered_again() -> None:
    """Our watch does not show that: its label is not ours."""
    server = Server(group="other")
    controller, running = follow(server)
    await asyncio.sleep(LOST_LOOK_S / 2)
    assert controller.is_lost("mine")
    assert server.stored is not None
    assert server.stored.spec.worker_group == "other"
    server.stored = None
    await asyncio.sleep(LOST_LOOK_S)
    assert server.stored is not None
    assert server.stored.spec.worker_group == "g"
    running.cancel()
