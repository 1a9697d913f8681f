"""Who has a mutex or the only slot of a limit keeps it whatever becomes of it, until nothing of it runs any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from api_server import ApiServer
from controller_world import World, eventually, replica
from kontinue.api.patches import retry_operations
from kontinue.api.v1alpha1 import ChildPolicy, Phase
from kontinue.kube import requests
from kontinue_engine.lifecycle.conditions import is_stopped
from kontinue_engine.wire import frames

BOOM = frames.ErrorInfo("builtins.ValueError", "boom", "", ["builtins.ValueError"])
LATER = {"retries": 1, "backoff": "1h"}
AT_ONCE = {"retries": 1, "backoff": "0s"}

OBSTACLES = pytest.mark.parametrize(
    "obstacle",
    [{"mutex": "m"}, {"function": "child"}, {"mutex": "m", "function": "child"}],
    ids=["mutex", "limit", "both"],
)


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    """A replica on which ``child`` may run once at a time."""
    async with replica(api_server, executing_after_ms=10, limits={"child": 1}) as one:
        yield one


def dispatched(world: World) -> list[str]:
    return [activate.execution for activate in world.runners.submitted]


def fail(world: World, activate: frames.Activate) -> None:
    world.on_frame(frames.Failed(activate.activation, "UserError", BOOM, [], [], ["builtins.ValueError"]))


def complete(world: World, activate: frames.Activate) -> None:
    world.on_frame(frames.Completed(activate.activation, b"1"))


def suspend(world: World, activate: frames.Activate) -> None:
    """It sleeps for long."""
    world.on_frame(frames.StepRequested(activate.activation, "0", frames.StartTimer(3_600_000)))
    world.on_frame(frames.Waiting(activate.activation, [frames.WaitingItem("Timer", "sleep", "0")]))


def evict(world: World, activate: frames.Activate) -> None:
    """It sleeps for long, and its runner is recycled meanwhile."""
    suspend(world, activate)
    world.controller.activations.on_lost(
        activate.activation, was_active=False, was_alone=False, reason="Evicted", message="recycled"
    )


def block(world: World, activate: frames.Activate) -> None:
    """Its code does not match its records."""
    world.on_frame(frames.Mismatched(activate.activation, "0", "step a", "step b, requested by the code now"))


HELD = [
    (suspend, Phase.SUSPENDED, Phase.CANCELED),
    (evict, Phase.SUSPENDED, Phase.SKIPPED),
    (fail, Phase.BACKOFF, Phase.CANCELED),
    (block, Phase.BLOCKED, Phase.SKIPPED),
]
Act = Callable[[World, frames.Activate], None]


async def end(world: World, name: str, phase: Phase) -> None:
    """End it as a client does."""
    status: dict[str, Any] = {"phase": phase, "message": "enough"}
    if phase is Phase.SKIPPED:
        status["result"] = 7
    request = requests.merge_patch(requests.EXECUTIONS, world.namespace, name, {"status": status}, subresource="status")
    await world.transport.send(request)


async def ask(world: World, name: str) -> None:
    """Ask for a retry as a client does."""
    operations = retry_operations(await world.get(name), child_policy=ChildPolicy.RETRY_FAILED)
    await world.transport.send(requests.json_patch(requests.EXECUTIONS, world.namespace, name, operations))


async def waits(world: World, name: str) -> None:
    """Wait until an Execution is told that it has to wait, and see that it has not been started."""
    async with asyncio.timeout(60):
        while not (await world.get(name)).status.waiting_for:
            await asyncio.sleep(0.02)
    assert dispatched(world).count(name) == 0


async def stopped(world: World, name: str) -> None:
    async with asyncio.timeout(60):
        while not is_stopped((await world.get(name)).status.conditions):
            await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("obstacle", [{"mutex": "m"}, {"function": "child"}], ids=["mutex", "limit"])
@pytest.mark.parametrize(("act", "phase", "ending"), HELD, ids=["suspended", "evicted", "backing off", "blocked"])
async def test_a_holder_that_does_not_run_keeps_what_it_has_until_somebody_ends_it(
    world: World, obstacle: dict[str, str], act: Act, phase: Phase, ending: Phase
) -> None:
    """However long it waits, for its time, its next attempt or a build; then the next one has it at once."""
    holder = await world.start("a", retry=LATER, **obstacle)
    await world.phase("a", Phase.EXECUTING)
    act(world, holder)
    await world.phase("a", phase)
    await world.create("b", **obstacle)
    await waits(world, "b")
    await end(world, "a", ending)
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)) or "b" in dispatched(world))
    if act is suspend:  # its code is there, and is told
        assert "b" not in dispatched(world)
        world.on_frame(frames.Interrupted(holder.activation))
    await world.run("b")
    await stopped(world, "a")


@OBSTACLES
@pytest.mark.parametrize("ending", [Phase.CANCELED, Phase.SKIPPED])
async def test_a_holder_that_is_ended_while_it_runs_keeps_what_it_has_until_its_code_has_ended(
    world: World, obstacle: dict[str, str], ending: Phase
) -> None:
    """Terminal is not the same as stopped."""
    holder = await world.start("a", **obstacle)
    await world.phase("a", Phase.EXECUTING)
    await world.create("b", **obstacle)
    await end(world, "a", ending)
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    await waits(world, "b")
    assert not is_stopped((await world.get("a")).status.conditions)
    world.on_frame(frames.Interrupted(holder.activation))
    await world.run("b")
    await stopped(world, "a")


@OBSTACLES
async def test_a_holder_keeps_what_it_has_from_one_attempt_to_the_next(world: World, obstacle: dict[str, str]) -> None:
    """Nobody comes in between, and its runner's death changes nothing either."""
    first = await world.start("a", retry=AT_ONCE, **obstacle)
    await world.create("b", **obstacle)
    await waits(world, "b")
    fail(world, first)
    second = await world.run("a", attempt=2)
    world.controller.activations.on_lost(
        second.activation, was_active=True, was_alone=True, reason="OutOfMemory", message="too large"
    )
    await eventually(lambda: world.runners.submitted[-1].activation > second.activation)
    assert dispatched(world) == ["a"] * 3
    third = await world.run("a", attempt=2)
    assert third.fencing_token >= second.fencing_token
    complete(world, third)
    await world.run("b")


@pytest.mark.slow
@OBSTACLES
async def test_a_canceled_holder_that_is_retried_queues_again(world: World, obstacle: dict[str, str]) -> None:
    """What it had went to the next one; its new run begins when that has stopped, with a larger token."""
    first = await world.start("a", **obstacle)
    await world.phase("a", Phase.EXECUTING)
    await world.create("b", **obstacle)
    await end(world, "a", Phase.CANCELED)
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    world.on_frame(frames.Interrupted(first.activation))
    other = await world.run("b")
    await ask(world, "a")
    async with asyncio.timeout(60):
        while not (await world.get("a")).status.waiting_for:
            await asyncio.sleep(0.02)
    assert (await world.get("a")).phase is Phase.PENDING
    assert dispatched(world) == ["a", "b"]
    complete(world, other)
    again = await world.run("a", attempt=2)
    if "mutex" in obstacle:
        assert again.fencing_token > other.fencing_token > first.fencing_token
    await world.create("c", **obstacle)
    await waits(world, "c")
    complete(world, again)
    await world.run("c")


@OBSTACLES
async def test_a_retry_that_is_asked_for_while_the_code_still_ends_begins_when_it_has(
    world: World, obstacle: dict[str, str]
) -> None:
    """Neither it nor anybody else runs beside what is being ended."""
    first = await world.start("a", **obstacle)
    await world.phase("a", Phase.EXECUTING)
    await world.create("b", **obstacle)
    await end(world, "a", Phase.CANCELED)
    await eventually(lambda: bool(world.runners.sent_of(frames.CancelActivation)))
    await ask(world, "a")
    await waits(world, "b")
    assert dispatched(world) == ["a"]
    world.on_frame(frames.Interrupted(first.activation))
    await eventually(lambda: len(dispatched(world)) == 2)
    next_one = await world.run(dispatched(world)[1])
    complete(world, next_one)
    await eventually(lambda: len(dispatched(world)) == 3)
    assert sorted(dispatched(world)) == ["a", "a", "b"]


@pytest.mark.slow
@OBSTACLES
async def test_what_waits_in_vain_takes_nothing_along(world: World, obstacle: dict[str, str]) -> None:
    """Canceled or skipped while it waits, it never ran; who is behind it does not wait for it."""
    holder = await world.start("a", **obstacle)
    for name in ("b", "c", "d"):
        await world.create(name, **obstacle)
        await waits(world, name)
    await end(world, "b", Phase.CANCELED)
    await end(world, "c", Phase.SKIPPED)
    for name in ("b", "c"):
        await stopped(world, name)
    complete(world, holder)
    await world.run("d")
    assert dispatched(world) == ["a", "d"]
