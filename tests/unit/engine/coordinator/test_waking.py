"""While Executions of dead shards wait, ends of children elsewhere are told to who moves their parents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kontinue.api import labels
from kontinue.kube.requests import Request
from kontinue_engine.coordinator.waking import Waking
from scripted_transport import ScriptedTransport


def child(name: str, parent: str) -> dict[str, object]:
    owner = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": parent, "uid": f"uid-{parent}"}
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "1", "ownerReferences": [owner]}}


class World:
    """The ended children that the server has, and who was told of."""

    def __init__(self) -> None:
        self.ended = [child("c", "p")]
        self.woken: list[str] = []
        self.transport = ScriptedTransport()
        self.transport.answer = self.answer
        self.waking = Waking(self.transport, namespace="ns", group="g", on_woken=self.woken.append)

    def answer(self, request: Request) -> bytes:
        assert "parent-group%3Dg" in request.query
        return json.dumps({"metadata": {"resourceVersion": "1"}, "items": self.ended}).encode()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.waking.run())
        try:
            yield
        finally:
            task.cancel()

    async def until(self, woken: list[str]) -> None:
        async with asyncio.timeout(60):
            while self.woken != woken:
                await asyncio.sleep(0)


async def test_nothing_is_asked_while_nothing_waits() -> None:
    """Nor after the last one has a shard."""
    world = World()
    async with world.running():
        world.waking.end()
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.transport.sent == []
        world.waking.begin()
        world.waking.end()
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.transport.sent == []


async def test_parents_are_told_of_children_that_have_ended_and_of_those_that_do() -> None:
    """Those that are not waited for, too: who is told knows."""
    world = World()
    async with world.running():
        world.waking.begin()
        await world.until(["uid-p"])
        event = {"type": "ADDED", "object": child("d", "q")}
        world.transport.emit(json.dumps(event).encode())
        await world.until(["uid-p", "uid-q"])


async def test_who_comes_to_wait_later_is_told_of_ends_before_that() -> None:
    """The list is asked for again."""
    world = World()
    async with world.running():
        world.waking.begin()
        await world.until(["uid-p"])
        world.waking.begin()
        await world.until(["uid-p", "uid-p"])
