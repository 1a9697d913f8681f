"""Whom the leader of a sharded group admits, as it begins to lead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from kontinue.api import labels
from kontinue.kube.requests import Request
from kontinue.kube.watch import EventType
from kontinue_engine.coordinator.limits import LimitDuty
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.sharding.lease_book import LeaseBook
from kontinue_engine.sharding.leases import LeaseTimes, ReplicaIdentity
from kontinue_engine.sharding.views import PlacedExecution
from polling import eventually
from scripted_transport import ScriptedTransport
from virtual_time import LoopClock, elapsed_s, virtual_time

ME = ReplicaIdentity(shard="w-0", incarnation="me")


def running(name: str) -> dict[str, Any]:
    """Return an Execution of the limited function, in our shard."""
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "5", "labels": {labels.SHARD: "w-0"}},
        "spec": {"function": "f"},
        "status": {"phase": "Executing", "owner": {"shard": "w-0", "incarnation": "me", "epoch": 1}},
    }


class Server:
    """Executions in shards. One of them is canceled just after somebody has listed any of them."""

    def __init__(self, transport: ScriptedTransport, execution: dict[str, Any]) -> None:
        self.execution = execution
        self.is_asked_for = False
        self._transport = transport
        transport.answer = self

    def __call__(self, request: Request) -> bytes:
        if request.path.endswith("/executions"):
            return self._list(request.query)
        self.is_asked_for = True
        return msgspec.json.encode(self.execution)

    def _list(self, query: str) -> bytes:
        phase = self.execution["status"]["phase"]
        is_wanted = f"phase%3D{phase}" in query or (phase == "Executing" and "phase%21%3D" in query)
        items = [self.execution] if is_wanted else []
        if phase == "Executing":
            self._cancel(is_watched=is_wanted)
        return msgspec.json.encode({"metadata": {"resourceVersion": "9"}, "items": items})

    def _cancel(self, *, is_watched: bool) -> None:
        self.execution = {**self.execution, "status": {**self.execution["status"], "phase": "Canceled"}}
        if is_watched:  # it leaves the selection of those that live
            self._transport.emit(msgspec.json.encode({"type": "DELETED", "object": self.execution}))

    def stop(self) -> None:
        """Nothing of it runs any more."""
        stopped = {"type": "Stopped", "status": "True", "reason": "Stopped", "message": ""}
        self.execution["status"]["conditions"] = [stopped]


class Placed:
    """Informer handler: notes what may have a shard."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_list(self, objects: Sequence[PlacedExecution], *, initial: bool) -> None:
        del initial
        self.names += [one.metadata.name for one in objects]

    def on_event(self, type: EventType, obj: PlacedExecution) -> None:  # noqa: A002 - the wire's word
        del type
        self.names.append(obj.metadata.name)


@contextlib.asynccontextmanager
async def leading(transport: ScriptedTransport, place: Placed, *waiting: str) -> AsyncIterator[None]:
    """Lead a group with a function that may run once; these wait for it."""
    clock = LoopClock()
    duty = LimitDuty(
        transport,
        namespace="ns",
        group="g",
        me=ME,
        limits={"f": 1},
        book=LeaseBook("g"),
        events=EventRecorder(transport, component="test", instance="test", clock=clock),
        clock=clock,
        times=LeaseTimes(),
        place=place,
    )
    specs = [{"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": {"function": "f"}} for name in waiting]
    duty.on_list(msgspec.convert(specs, list[PlacedExecution]), initial=True)
    task = asyncio.create_task(duty.run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_what_ends_while_a_new_leader_lists_keeps_its_slot_until_it_has_stopped(
    transport: ScriptedTransport,
) -> None:
    """It lives in the one list and has ended in the other: whatever comes first, it is in one of them."""
    place = Placed()
    server = Server(transport, running("a"))
    async with leading(transport, place, "b"):
        await eventually(lambda: server.is_asked_for or bool(place.names))
        assert place.names == []
        server.stop()
        await eventually(lambda: place.names == ["b"])


class BusyServer(ScriptedTransport):
    """Needs a tenth of a second for each request. One Execution runs, and has ended when somebody asks for it.

    Attributes:
        told: names of those that were told what they wait for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: set[str] = set()
        self.answer = self._answer

    async def send(self, request: Request, **options: Any) -> bytes:
        await asyncio.sleep(0.1)
        return await super().send(request, **options)

    def _answer(self, request: Request) -> bytes:
        if request.path.endswith("/executions"):
            items = [running("a")] if "phase%21%3D" in request.query else []
            return msgspec.json.encode({"metadata": {"resourceVersion": "9"}, "items": items})
        name = request.path.split("/executions/")[1].partition("/")[0]
        if request.method != "GET":
            self.told.add(name)
        stopped = {"type": "Stopped", "status": "True", "reason": "Stopped", "message": ""}
        ended = {**running("a"), "status": {"phase": "Completed", "conditions": [stopped]}}
        waiting = {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": {"function": "f", "arguments": {}}}
        return msgspec.json.encode(ended if name == "a" else waiting)

    def end(self) -> None:
        """The one that runs has ended."""
        self.emit(msgspec.json.encode({"type": "DELETED", "object": running("a")}))


@virtual_time
async def test_a_slot_is_given_on_although_thousands_are_being_told_what_they_wait_for() -> None:
    """Nobody is in a hurry to know."""
    server, place = BusyServer(), Placed()
    names = [f"b-{number:04}" for number in range(2000)]
    async with leading(server, place, *names):
        await asyncio.sleep(2)
        server.end()
        ended_s = elapsed_s()
        while not place.names:
            await asyncio.sleep(0.1)
        assert elapsed_s() - ended_s < 1
        assert server.told
        await asyncio.sleep(200)
        assert server.told >= set(names[1:])
