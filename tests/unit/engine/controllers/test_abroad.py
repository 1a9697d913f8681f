"""A child elsewhere that is deleted, or whose end nobody heard of, does not leave its parent waiting for ever."""

from __future__ import annotations

import asyncio
import json

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.api.v1alpha1 import Execution, ExecutionSpec, ExecutionStatus, Phase
from kontinue.kube.requests import Request
from kontinue_engine.clock import SystemClock
from kontinue_engine.controllers.abroad import LOOK_S, Abroad, AwayChild
from kontinue_engine.controllers.entries import Entry
from kontinue_engine.controllers.runtime import Runtime, Scope
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.lifecycle.observed import Worker
from scripted_transport import ScriptedTransport
from virtual_time import virtual_time


class NoRunners:
    """Nothing is run here."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


def execution(name: str, *, uid: str = "", phase: Phase | None = None, parent: str = "") -> Execution:
    owners = [OwnerReference(api_version=labels.API_VERSION, kind="Execution", name=parent, uid=f"uid-{parent}")]
    meta = ObjectMeta(
        name=name,
        namespace="ns",
        uid=uid or f"uid-{name}",
        resource_version="1",
        owner_references=owners if parent else [],
    )
    return Execution(metadata=meta, spec=ExecutionSpec(function="f"), status=ExecutionStatus(phase=phase))


class World:
    """A replica with one parent, and the children that the server has."""

    def __init__(self, *children: Execution) -> None:
        self.children = {child.metadata.name: child for child in children}
        self.refusals: list[errors.ApiError] = []
        self.missing: list[tuple[str, str, Execution | None]] = []
        self.transport = ScriptedTransport()
        self.transport.answer = self.answer
        clock = SystemClock()
        self.runtime = Runtime(
            self.transport,
            NoRunners(),  # type: ignore[arg-type]
            EventRecorder(self.transport, component="test", instance="test", clock=clock),
            clock,
            worker=Worker(shard="w-0", incarnation="i", build="b"),
            scope=Scope(namespace="ns", group="g", colours={}, deaf=frozenset(), windows={}, dead_predecessor=""),
            lease_remaining_s=lambda: 30.0,
        )
        self.parent = Entry(execution("parent"), inherited=False)
        self.runtime.entries.add(self.parent)
        self.abroad = Abroad(self.runtime, on_missing=self.on_missing)
        for child in children:
            self.parent.children[child.metadata.name] = "step"
            self.abroad.add(AwayChild(child.metadata.name, child.metadata.uid, self.parent.uid))

    def on_missing(self, parent: Entry, child: AwayChild, found: Execution | None) -> None:
        self.missing.append((parent.name, child.name, found))
        parent.children.pop(child.name)

    def answer(self, request: Request) -> bytes:
        if request.path.endswith("/executions"):
            if self.refusals:
                raise self.refusals.pop(0)
            assert "parent-group%3Dg" in request.query
            live = [json.loads(msgspec.json.encode(one)) for one in self.children.values() if not one.phase.is_terminal]
            return json.dumps({"metadata": {"resourceVersion": "1"}, "items": live}).encode()
        name = request.path.rpartition("/")[2]
        if name not in self.children:
            raise errors.NotFound("no such Execution", status=404)
        return msgspec.json.encode(self.children[name])

    async def pass_time(self, seconds: float) -> None:
        """Let the replica look after them for that long."""
        running = asyncio.ensure_future(self.abroad.run())
        await asyncio.sleep(seconds)
        assert not running.done()
        running.cancel()


@virtual_time
async def test_a_deleted_child_is_noticed_within_a_minute() -> None:
    """Also when another one has its name now."""
    world = World(execution("a", parent="parent"), execution("b", parent="parent"), execution("c", parent="parent"))
    del world.children["a"]
    world.children["b"] = execution("b", uid="another")
    await world.pass_time(LOOK_S + 1)
    assert world.missing == [("parent", "a", None), ("parent", "b", None)]


@virtual_time
async def test_an_end_that_the_watch_did_not_show_is_found() -> None:
    """The parent gets it, however it came to be missed."""
    world = World(execution("a", parent="parent"))
    ended = world.children["a"] = execution("a", phase=Phase.COMPLETED, parent="parent")
    await world.pass_time(LOOK_S + 1)
    assert world.missing == [("parent", "a", ended)]


@virtual_time
async def test_while_nobody_waits_nothing_is_asked() -> None:
    """No child elsewhere, none that its parent still waits for, or a parent that has ended."""
    await (nothing := World()).pass_time(1000)
    told = World(execution("a", parent="parent"))
    told.abroad.discard("a")
    await told.pass_time(1000)
    delivered = World(execution("a", parent="parent"))
    delivered.parent.children.clear()
    await delivered.pass_time(1000)
    assert [world.transport.sent for world in (nothing, told, delivered)] == [[], [], []]


@virtual_time
async def test_one_that_runs_here_again_is_not_asked_for() -> None:
    """It was to be retried, and is: its end is known here."""
    world = World(execution("a", parent="parent"))
    world.runtime.entries.add(Entry(world.children["a"], inherited=False))
    await world.pass_time(1000)
    assert world.transport.sent == []


@virtual_time
async def test_who_lives_is_left_alone_and_a_refusal_is_survived() -> None:
    """One list a minute, and the next one finds what this one could not."""
    world = World(execution("a", parent="parent"))
    world.refusals = [errors.Forbidden("no", status=403)]
    await world.pass_time(LOOK_S * 2.5)
    assert world.missing == []
    assert len(world.transport.sent) == 2
    del world.children["a"]
    await world.pass_time(LOOK_S + 1)
    assert world.missing == [("parent", "a", None)]
