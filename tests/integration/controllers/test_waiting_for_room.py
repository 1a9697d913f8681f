"""Executions that could run, if only there were a free runner: what their status says, and what that costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from api_server import ApiServer
from controller_world import WINDOW, World, eventually, replica
from kontinue.api.v1alpha1 import Execution, Phase
from kontinue_engine.controllers import room
from kontinue_engine.lifecycle.starting import NO_ROOM_MESSAGE
from kontinue_engine.wire import frames

TOLD = [("Worker", "w-0", NO_ROOM_MESSAGE)]


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell at once."""
    monkeypatch.setattr(room, "TELL_AFTER_MS", 50)


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    async with replica(api_server, executing_after_ms=60_000) as one:
        yield one


def waiting_of(execution: Execution) -> list[tuple[str, str, str]]:
    return [(item.kind, item.name, item.message) for item in execution.status.waiting_for]


async def told(world: World, name: str) -> Execution:
    """Wait until it is told what it waits for."""
    async with asyncio.timeout(60):
        while not (execution := await world.get(name)).status.waiting_for:
            await asyncio.sleep(0.01)
    return execution


async def test_what_waits_in_the_queue_of_the_runners_is_told_once_and_then_runs(world: World) -> None:
    """One write for a long wait, none for the start; the end takes the remark away."""
    await world.create("e")
    execution = await told(world, "e")
    assert (waiting_of(execution), execution.phase, execution.status.owner) == (TOLD, Phase.PENDING, None)
    world.runtime.queue.add(execution.metadata.uid)
    activate = await world.run("e")
    world.on_frame(frames.Completed(activate.activation, b"1"))
    ended = await world.phase("e", Phase.COMPLETED)
    assert ended.status.waiting_for == []


async def test_what_waits_to_be_claimed_is_told_by_the_replica_that_will_claim_it(api_server: ApiServer) -> None:
    """After a restart only some are claimed at a time; the others say so, and still belong to nobody else."""
    names = [f"e-{number}" for number in range(WINDOW + 1)]
    async with replica(api_server) as before:
        for name in names:
            activate = await before.start(name)
            before.on_frame(frames.RecordsProduced(activate.activation, 1, []))
        for name in names:
            await before.phase(name, Phase.EXECUTING)
    async with replica(api_server, "two", dead_predecessor="one") as after:
        await eventually(lambda: len(after.runners.submitted) == WINDOW)
        claimed = {activate.execution for activate in after.runners.submitted}
        (left,) = set(names) - claimed
        execution = await told(after, left)
        assert waiting_of(execution) == TOLD
        assert execution.status.owner is not None
        assert execution.status.owner.incarnation == "one"
        for activate in list(after.runners.submitted):
            after.on_frame(frames.Running(activate.activation))
            after.on_frame(frames.Completed(activate.activation, b"1"))
        activate = await after.run(left)
        after.on_frame(frames.Completed(activate.activation, b"1"))
        assert (await after.phase(left, Phase.COMPLETED)).status.waiting_for == []
